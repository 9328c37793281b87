/** What is no picture: reports as text, PDF to save, films; as the server renders them. */

import { h } from '../lib/h.js'
import { t } from '../lib/i18n.js'
import { failed } from '../lib/dialog.js'
import { DICOM, ask } from '../net/api.js'
import { saveBlob } from '../net/download.js'
import { path } from '../net/qido.js'

/**
 * An element that shows an instance.
 * @param {import('../dicom/geometry.js').Frame} frame
 * @param {'report' | 'pdf' | 'film' | 'none'} kind
 * @param {AbortSignal} signal
 */
export function documentOf(frame, kind, signal) {
  const place = `${DICOM}/${path(frame.study, frame.series, frame.instance)}/rendered`
  const element = h('div', { class: 'document', tabindex: '0', role: 'region', 'aria-label': t(`viewer.${kind}`) })
  const wrong = (error) => error.name !== 'AbortError' && element.replaceChildren(h('p', { class: 'error', role: 'alert' }, error.message))
  if (kind === 'pdf') {
    const save = () =>
      ask(place, { accept: 'application/pdf', signal })
        .then((answer) => answer.blob())
        .then((blob) => saveBlob(blob, `${frame.instance}.pdf`))
        .catch(failed)
    element.append(h('p', null, t('viewer.pdf')), h('button', { type: 'button', class: 'primary', onclick: save }, t('viewer.save')))
  } else if (kind === 'film') {
    ask(place, { accept: 'video/mp4', signal })
      .then((answer) => answer.blob())
      .then((blob) => {
        const url = URL.createObjectURL(blob)
        signal.addEventListener('abort', () => URL.revokeObjectURL(url))
        element.append(h('video', { src: url, controls: true, loop: true, 'aria-label': t('viewer.film') }))
      })
      .catch(wrong)
  } else {
    ask(place, { accept: 'text/plain', signal })
      .then((answer) => answer.text())
      .then((text) => element.append(h('pre', { dir: 'auto' }, text)))
      .catch(wrong)
  }
  return element
}
