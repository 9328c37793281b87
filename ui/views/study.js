/** One study: who and what, its series with their pictures, what can be done with it. */

import { cut, fill, h, icon, told } from '../lib/h.js'
import { t } from '../lib/i18n.js'
import { date, time } from '../lib/format.js'
import { announce, copy, dialog, failed } from '../lib/dialog.js'
import { go, to } from '../lib/router.js'
import { first, number, text, values } from '../dicom/json.js'
import { metadata, ofPatient, path, remove, series, study as readStudy, thumbnail } from '../net/qido.js'
import { me, openIn } from '../net/api.js'
import { download } from '../net/download.js'
import { share } from './share.js'
import { afterwards, deleted } from './undo.js'

/** Shows the screen. */
export function show(root, { rest: [study] }) {
  const leaving = new AbortController()
  const { signal } = leaving
  const heading = h('h1', null, t('study'))
  const facts = h('dl', { class: 'facts' })
  const cards = h('ul', { class: 'cards', 'aria-label': t('study.series') })
  const others = h('section', { hidden: true })
  const actions = h('div', { class: 'actions' })
  fill(root, h('div', { class: 'head' }, h('a', { class: 'button', href: to('studies') }, icon('left'), t('nav.studies')), heading, h('span', { class: 'fill' }), actions), facts, h('h2', null, t('study.series')), cards, others)
  const urls = []

  async function load() {
    const [set, rows] = await Promise.all([readStudy(study, signal), series(study, signal)])
    if (!set) {
      fill(root, h('h1', null, t('study')), h('p', { class: 'state', role: 'alert' }, t('study.gone')), h('a', { class: 'button', href: to('studies') }, t('nav.studies')))
      return
    }
    const name = text(set, '00100010') || t('unnamed')
    fill(heading, told(name))
    document.title = `${cut(name)} – Stowage`
    announce(cut(name))
    fill(facts, factRows(set))
    fill(actions, actionButtons(set, rows))
    const pictures = rows.map((row) => card(row))
    fill(cards, pictures.map(([element]) => element))
    await Promise.all([loadPictures(pictures), loadOthers(set)])
  }

  function factRows(set) {
    const row = (label, value, copied = value) =>
      value && h('div', null, h('dt', null, label), h('dd', null, told(value), ' ', h('button', { type: 'button', class: 'quiet small', 'aria-label': t('copy.what', { what: label }), onclick: () => copy(copied) }, icon('copy'))))
    const sex = text(set, '00100040')
    return [
      row(t('field.PatientID'), text(set, '00100020')),
      row(t('field.PatientBirthDate'), date(text(set, '00100030')), text(set, '00100030')),
      row(t('field.PatientSex'), sex),
      row(t('field.StudyDate'), `${date(text(set, '00080020'))} ${time(text(set, '00080030'))}`.trim()),
      row(t('field.StudyDescription'), text(set, '00081030')),
      row(t('field.AccessionNumber'), text(set, '00080050')),
      row(t('field.ReferringPhysicianName'), text(set, '00080090')),
      row(t('field.StudyInstanceUID'), study),
    ]
  }

  function actionButtons(set, rows) {
    const may = (action) => me.get()?.actions.includes(action)
    const images = rows.reduce((sum, row) => sum + (number(row, '00201209') ?? 0), 0)
    const view = rows.find((row) => !NOT_IMAGES.has(text(row, '00080060'))) ?? rows[0]
    return [
      view && h('a', { class: 'button primary', href: to('view', [study, text(view, '0020000E')]) }, icon('eye'), t('view')),
      h('button', { type: 'button', onclick: (event) => save(event.currentTarget, path(study), 'application/zip', `${study}.zip`) }, icon('download'), t('zip')),
      h('button', { type: 'button', onclick: () => share(study) }, icon('share'), t('share')),
      openIn.get().map(({ name, url }) => h('a', { class: 'button', href: url.replaceAll('{study}', encodeURIComponent(study)), target: '_blank', rel: 'noopener' }, t('study.open', { viewer: name }))),
      may('delete') && h('button', { type: 'button', class: 'danger', onclick: () => erase(set, rows.length, images) }, icon('trash'), t('delete')),
    ]
  }

  async function save(button, place, media, name) {
    button.disabled = true
    try {
      await download(place, media, name)
    } catch (error) {
      failed(error)
    }
    button.disabled = false
  }

  async function erase(set, count, images) {
    const field = h('input', { id: 'confirm', autocomplete: 'off', inputmode: 'numeric', required: true })
    const sure = await dialog(t('delete.title'), (close) =>
      h(
        'form',
        {
          onsubmit: (event) => {
            event.preventDefault()
            if (field.value.trim() === String(images)) close(true)
            else field.setCustomValidity(t('delete.wrong', { n: images }))
            field.reportValidity()
          },
          oninput: () => field.setCustomValidity(''),
        },
        h('p', null, t('delete.what', { series: count, n: images }), ' ', told(text(set, '00100010')), ', ', date(text(set, '00080020'))),
        h('p', null, afterwards()),
        h('label', { for: 'confirm' }, t('delete.confirm', { count: String(images) })),
        field,
        h('div', { class: 'actions' }, h('button', { type: 'submit', class: 'danger' }, t('delete')), h('button', { type: 'button', onclick: () => close(false) }, t('cancel'))),
      ),
    )
    if (!sure) return
    try {
      await remove(path(study))
      deleted(images, [study], () => go(to('study', [study])))
      go(to('studies'))
    } catch (error) {
      failed(error)
    }
  }

  function card(row) {
    const uid = text(row, '0020000E')
    const modality = text(row, '00080060')
    const picture = h('span', { class: 'picture', 'aria-hidden': 'true' }, modality)
    const title = [text(row, '00200011'), text(row, '0008103E')].filter(Boolean).join(' · ') || t('unnamed')
    const n = number(row, '00201209') ?? 0
    const instances = h('div', { class: 'instances', hidden: true })
    const list = h('button', { type: 'button', class: 'quiet', 'aria-expanded': 'false', onclick: () => open(uid, list, instances) }, t('instances'))
    const element = h(
      'li',
      { class: 'card' },
      h('a', { class: 'view', href: to('view', [study, uid]) }, picture, h('strong', null, told(title))),
      h('p', { class: 'muted' }, modality, ' · ', t('images', { n }), text(row, '00180015') && [' · ', told(text(row, '00180015'))]),
      list,
      h('button', { type: 'button', class: 'quiet', 'aria-label': t('zip.series', { name: cut(title, 60) }), onclick: (event) => save(event.currentTarget, path(study, uid), 'application/zip', `${uid}.zip`) }, icon('download'), t('zip')),
      instances,
    )
    return [element, picture, uid]
  }

  async function open(uid, button, place) {
    place.hidden = !place.hidden
    button.setAttribute('aria-expanded', String(!place.hidden))
    if (place.hidden || place.firstChild) return
    try {
      const sets = await metadata(path(study, uid), signal)
      sets.sort((a, b) => (number(a, '00200013') ?? 0) - (number(b, '00200013') ?? 0))
      const line = (set) => {
        const instance = text(set, '00080018')
        const number = text(set, '00200013') || '–'
        const file = h('button', { type: 'button', class: 'quiet small', 'aria-label': t('instance.save', { number }), onclick: (event) => save(event.currentTarget, path(study, uid, instance), 'application/dicom', `${instance}.dcm`) }, icon('download'))
        return h('li', null, h('a', { href: to('tags', [study, uid, instance]) }, t('instance.number', { number })), frames(set), ' ', file)
      }
      fill(place, h('ol', null, sets.map(line)))
    } catch (error) {
      place.hidden = true
      button.setAttribute('aria-expanded', 'false')
      failed(error)
    }
  }

  async function loadPictures(pictures) {
    for (const [, place, uid] of pictures) {
      if (signal.aborted) return
      try {
        const blob = await thumbnail(path(study, uid), signal)
        const url = URL.createObjectURL(blob)
        urls.push(url)
        fill(place, h('img', { src: url, alt: '', width: '192', height: '192' }))
      } catch (error) {
        // A report has no picture; its modality stays in the place of one.
        if (error.name === 'AbortError') return
      }
    }
  }

  async function loadOthers(set) {
    const id = text(set, '00100020')
    if (!id) return
    const rows = (await ofPatient(id, signal)).filter((row) => text(row, '00100020') === id && text(row, '0020000D') !== study)
    if (!rows.length) return
    others.hidden = false
    const line = (row) => h('li', null, h('a', { href: to('study', [text(row, '0020000D')]) }, date(text(row, '00080020')), ' ', values(row, '00080061').join(' '), ' ', told(text(row, '00081030'))))
    fill(others, h('h2', null, t('study.others')), h('ul', null, rows.map(line)))
  }

  load().catch((error) => {
    if (error.name !== 'AbortError') fill(cards, h('li', { class: 'error', role: 'alert' }, error.message))
  })
  return () => {
    leaving.abort()
    for (const url of urls) URL.revokeObjectURL(url)
  }
}

/** Modalities without pictures of their own. */
const NOT_IMAGES = new Set(['SR', 'PR', 'KO', 'DOC', 'REG', 'RTPLAN', 'RTSTRUCT', 'SEG'])

function frames(set) {
  const n = Number(first(set, '00280008'))
  return n > 1 ? [' ', h('span', { class: 'muted' }, t('frames', { n }))] : null
}

