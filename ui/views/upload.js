/** Storing files: drop or choose, see how far it is, what was refused and why. */

import { fill, h, icon, told } from '../lib/h.js'
import { t } from '../lib/i18n.js'
import { bytes, duration } from '../lib/format.js'
import { announce } from '../lib/dialog.js'
import { to } from '../lib/router.js'
import { dropped, uploads } from '../net/uploads.js'

/** Rows of the table of failures at most. */
const SHOWN = 500

/** Shows the screen. */
export function show(root) {
  const files = chooser({ multiple: true })
  const folder = chooser({ multiple: true, webkitdirectory: true })
  const zone = h(
    'div',
    { class: 'drop', ondragover: over, ondragleave: out, ondrop: drop },
    icon('upload'),
    h('p', null, t('upload.drop')),
    h('div', { class: 'actions' }, h('button', { type: 'button', class: 'primary', onclick: () => files.click() }, t('upload.files')), h('button', { type: 'button', onclick: () => folder.click() }, t('upload.folder'))),
    files,
    folder,
  )
  const progress = h('section', { hidden: true, 'aria-label': t('upload.progress') })
  const bar = h('progress', { max: '1', value: '0', 'aria-label': t('upload.progress') })
  const line = h('p', { class: 'counts' })
  const detail = h('p', { class: 'muted' })
  const notice = h('p', { class: 'notice', role: 'status' })
  const buttons = h('div', { class: 'actions' })
  const studies = h('ul', { class: 'plain' })
  const refused = h('div')
  fill(progress, bar, line, detail, notice, buttons, studies, refused)
  fill(root, h('div', { class: 'head' }, h('h1', null, t('nav.upload'))), zone, progress)

  function chooser(props) {
    const input = h('input', {
      type: 'file',
      class: 'hidden',
      tabindex: '-1',
      'aria-hidden': 'true',
      ...props,
      onchange: () => {
        // Copied, for clearing the field empties its list.
        const chosen = Array.from(input.files, (file) => ({ file, path: file.webkitRelativePath || file.name }))
        input.value = ''
        uploads.add(chosen)
      },
    })
    return input
  }

  function over(event) {
    event.preventDefault()
    zone.classList.add('over')
  }

  function out() {
    zone.classList.remove('over')
  }

  function drop(event) {
    event.preventDefault()
    out()
    uploads.add(dropped(event.dataTransfer))
  }

  let last = ''
  const end = uploads.state.follow((state) => {
    const all = state.waiting + state.sending + state.stored + state.failed
    progress.hidden = all + state.skipped === 0 && !state.running
    bar.value = state.total ? state.sent / state.total : 0
    fill(line, t('upload.counts', { stored: state.stored, all, failed: state.failed, skipped: state.skipped }))
    const left = state.rate ? (state.total - state.sent) / state.rate : 0
    const figures = [`${bytes(state.sent)} / ${bytes(state.total)}`, state.running && !state.paused && state.rate && `${bytes(state.rate)}/s`, state.running && !state.paused && left && t('upload.left', { time: duration(left) }), state.looking && t('upload.looking')]
    fill(detail, figures.filter(Boolean).join(' · '))
    fill(notice, state.paused ? t('upload.paused') : state.notice || (state.again > 0 && t('upload.again', { n: state.again })))
    const phase = `${state.running} ${state.paused} ${state.failed} ${state.stored} ${state.skipped} ${state.studies.size}`
    if (phase === last) return
    last = phase
    const button = (key, run, kind) => h('button', { type: 'button', class: kind, onclick: run }, t(key))
    const focused = document.activeElement?.parentElement === buttons
    fill(buttons, [
      state.running && (state.paused ? button('upload.resume', uploads.resume, 'primary') : button('upload.pause', uploads.pause)),
      state.running && button('cancel', uploads.cancel),
      !state.running && state.failed > 0 && button('upload.retry', uploads.retry, 'primary'),
      !state.running && button('upload.clear', uploads.clear),
    ])
    if (focused) buttons.firstElementChild?.focus()
    fill(studies, [...state.studies].slice(-20).map(([study, n]) => h('li', null, h('a', { href: to('study', [study]) }, t('upload.study', { n })), ' ', h('span', { class: 'muted' }, study))))
    fill(refused, state.failed > 0 && table(uploads.failures()))
    if (!state.running && all) announce(t('upload.counts', { stored: state.stored, all, failed: state.failed, skipped: state.skipped }))
  })
  return end
}

function table(items) {
  return h(
    'div',
    { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': t('upload.failures') },
    h(
      'table',
      null,
      h('caption', null, t('upload.failures')),
      h('thead', null, h('tr', null, h('th', { scope: 'col' }, t('upload.file')), h('th', { scope: 'col' }, t('upload.reason')))),
      h('tbody', null, items.slice(0, SHOWN).map((item) => h('tr', null, h('th', { scope: 'row' }, told(item.path)), h('td', null, told(item.reason))))),
    ),
    items.length > SHOWN && h('p', { class: 'muted' }, t('upload.more', { n: items.length - SHOWN })),
  )
}
