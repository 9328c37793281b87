/** What was deleted, and bringing it back. */

import { DICOM, ask, askJson } from './api.js'

/** A page of the trash, the newest first, and where the next one begins. */
export async function trash(before, signal) {
  const page = await askJson(`${DICOM}/trash${before ? `?before=${before}` : ''}`, { signal })
  // Only the place is taken: the address may be one that only the proxy knows.
  const next = page.next && new URL(page.next, document.baseURI).searchParams.get('before')
  return { entries: page.entries, next }
}

/** What the last delete in a study took; none when nothing of it is left. */
export async function lastDelete(study) {
  const page = await askJson(`${DICOM}/trash?study=${encodeURIComponent(study)}`)
  return page.entries.find((entry) => entry.reason === 'deleted') ?? null
}

/** Brings an entry back; what the server says of it, also when nothing could come back. */
export async function restore(id) {
  try {
    const answer = await ask(`${DICOM}/trash/${id}/restore`, { method: 'POST' })
    return await answer.json()
  } catch (error) {
    if (error.status === 409 && error.body?.problems) return error.body
    throw error
  }
}
