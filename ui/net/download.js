/** Downloads: by the browser itself where no token is needed, else fetched here, for a link carries none. */

import { t } from '../lib/i18n.js'
import { message } from '../lib/dialog.js'
import { h } from '../lib/h.js'
import { DICOM, address, ask, hasToken } from './api.js'

/** Saves what `path` answers under a name. */
export async function download(path, accept, name) {
  const target = `${DICOM}/${path}`
  if (!hasToken()) {
    const url = address(target)
    url.searchParams.set('accept', accept)
    return save(url.href, name)
  }
  // Only some browsers let a page write a file as it comes; the others keep it in memory until it is whole.
  if (globalThis.showSaveFilePicker) {
    const file = await globalThis.showSaveFilePicker({ suggestedName: name }).catch(() => null)
    if (!file) return
    const answer = await ask(target, { accept })
    await answer.body.pipeTo(await file.createWritable())
    message(t('download.done', { name }))
    return
  }
  const answer = await ask(target, { accept })
  saveBlob(await answer.blob(), name)
}

/** Saves bytes under a name. */
export function saveBlob(blob, name) {
  const url = URL.createObjectURL(blob)
  save(url, name)
  setTimeout(() => URL.revokeObjectURL(url), 60_000)
}

function save(href, name) {
  const link = h('a', { href, download: name })
  document.body.append(link)
  link.click()
  link.remove()
}
