/** Searches and what is told of a study. */

import { DICOM, LIST, ask, askJson } from './api.js'

const JSON_TYPE = 'application/dicom+json'
/** Results of a page. */
export const PAGE = 50

/** Fields of the list that people fill in, and how they are asked for. */
export const FILTERS = ['PatientName', 'PatientID', 'StudyDate', 'ModalitiesInStudy', 'StudyDescription', 'AccessionNumber']
/** Fields that match also when only a part is written. */
const PARTIAL = ['PatientID', 'StudyDescription', 'AccessionNumber']

/** What people write as it is asked for: parts match, and `*` and `?` are theirs. */
export function asked(filters) {
  const query = new URLSearchParams()
  for (const name of FILTERS) {
    const text = (filters[name] ?? '').trim()
    if (!text) continue
    const plain = !/[*?]/.test(text)
    // Words of names match by their beginnings, whatever their order.
    if (name === 'PatientName' && plain) query.set('fuzzymatching', 'true')
    query.set(name, plain && PARTIAL.includes(name) ? `${text}*` : text)
  }
  return query
}

/** Columns that the server sorts by. */
export const SORTED = ['PatientName', 'PatientID', 'StudyDate', 'AccessionNumber']

/** A page of studies in an order (`-StudyDate`; none: the newest arrival first), and the cursor of the next one. */
export async function studies(filters, order, cursor, signal) {
  const query = asked(filters)
  if (order) query.set('orderby', order)
  query.set('limit', String(PAGE))
  query.set('includefield', 'StudyTime,ModalitiesInStudy,PatientBirthDate,PatientSex,ReferringPhysicianName,NumberOfStudyRelatedSeries,NumberOfStudyRelatedInstances')
  if (cursor) query.set('cursor', cursor)
  const answer = await ask(`${LIST}?${query}`, { accept: JSON_TYPE, signal })
  const link = /<([^>]*)>;\s*rel="next"/.exec(answer.headers.get('Link') ?? '')
  // Only the cursor is taken: the address may be one that only the proxy knows.
  const next = link ? new URL(link[1], document.baseURI).searchParams.get('cursor') : null
  return { rows: answer.status === 204 ? [] : await answer.json(), next }
}

/** How many there are, exactly; `level` is `studies`, `series` or `instances`. */
export async function count(level, filters = {}, signal) {
  const query = asked(filters)
  query.set('limit', '1')
  const answer = await ask(`${level === 'studies' ? LIST : `${DICOM}/${level}`}?${query}`, { accept: JSON_TYPE, headers: { Prefer: 'count=exact' }, signal })
  const rows = answer.status === 204 ? [] : await answer.json()
  return Number(answer.headers.get('X-Total-Count') ?? rows.length)
}

const search = (path, signal) => askJson(`${DICOM}/${path}`, { accept: JSON_TYPE, signal }).then((rows) => rows ?? [])
const uid = encodeURIComponent

/** One study, as a search tells it. */
export async function study(study, signal) {
  const rows = await search(`studies?StudyInstanceUID=${uid(study)}&includefield=StudyDescription,ReferringPhysicianName,InstitutionName`, signal)
  return rows[0] ?? null
}

/** Other studies of a patient. */
export const ofPatient = (id, signal) => search(`studies?PatientID=${uid(id.replace(/[*?\\]/g, '?'))}&limit=25&includefield=StudyDescription`, signal)

/** The series of a study, by number. */
export async function series(study, signal) {
  const rows = await search(`studies/${uid(study)}/series?includefield=SeriesDescription,BodyPartExamined,NumberOfSeriesRelatedInstances`, signal)
  const number = (row) => row['00200011']?.Value?.[0] ?? Number.MAX_SAFE_INTEGER
  return rows.sort((a, b) => number(a) - number(b))
}

/** Metadata of a series or of an instance. */
export const metadata = (path, signal) => search(`${path}/metadata`, signal)

/** The path of a study, a series, an instance. */
export const path = (study, series, instance) =>
  [`studies/${uid(study)}`, series && `series/${uid(series)}`, instance && `instances/${uid(instance)}`].filter(Boolean).join('/')

/** A small picture as a blob. */
export async function thumbnail(path, signal) {
  const answer = await ask(`${DICOM}/${path}/thumbnail?viewport=192,192`, { accept: 'image/jpeg', signal, priority: 'low' })
  return answer.blob()
}

/** Removes a study or a series. */
export const remove = (path) => ask(`${DICOM}/${path}`, { method: 'DELETE' })

/** The number of the newest change; 0 when there is none. */
export async function newestChange(signal) {
  const change = await askJson('v2/changefeed/latest?includeMetadata=false', { signal, quiet: true })
  return change?.sequence ?? change?.Sequence ?? 0
}
