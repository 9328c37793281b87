/** Dialogs, messages that stay until they are read, and what is told to who does not see the page. */

import { h, fill, icon } from './h.js'
import { t } from './i18n.js'

/**
 * Opens a dialog; the promise holds what `close(value)` was given, `null` when it was left.
 * @param {string} title
 * @param {(close: (value: unknown) => void) => unknown} content
 */
export function dialog(title, content, wide = false) {
  return new Promise((resolve) => {
    let answer = null
    const close = (value) => {
      answer = value ?? null
      element.close()
    }
    const heading = h('h2', { id: 'dialog-title' }, title)
    const leave = h('button', { class: 'quiet', type: 'button', 'aria-label': t('close'), onclick: () => close(null) }, icon('close'))
    const element = h('dialog', { 'aria-labelledby': 'dialog-title', class: wide ? 'wide' : null }, h('header', null, heading, leave))
    element.append(content(close))
    element.addEventListener('close', () => {
      element.remove()
      resolve(answer)
    })
    document.body.append(element)
    element.showModal()
  })
}

const messages = h('div', { class: 'messages', role: 'region' })
const live = h('div', { class: 'hidden', role: 'status', 'aria-live': 'polite' })

/** Puts the places of messages into the page. */
export function mountMessages() {
  messages.setAttribute('aria-label', t('messages'))
  document.body.append(messages, live)
}

/**
 * Tells something; it stays until it is put away, which the answer does, too.
 * @param {{ text: string, run: () => void, ended: () => void } | null} [action] a button beside it, and what is called when it is gone
 */
export function message(text, kind = 'info', detail = '', action = null) {
  const put = () => {
    box.remove()
    action?.ended()
  }
  const act = () => {
    put()
    action.run()
  }
  const box = h(
    'div',
    { class: `message ${kind}`, role: kind === 'error' ? 'alert' : 'status' },
    h('div', null, h('p', null, text), detail && h('p', { class: 'muted' }, detail), action && h('button', { type: 'button', onclick: act }, action.text)),
    h('button', { class: 'quiet', type: 'button', 'aria-label': t('close'), onclick: put }, icon('close')),
  )
  messages.append(box)
  return put
}

/** Tells an error in words, with the id by which the server's log names it. */
export function failed(error) {
  if (error?.name === 'AbortError' || error?.signIn) return
  message(error?.message ?? String(error), 'error', error?.requestId ? t('error.request', { id: error.requestId }) : '')
}

/** Says something to who listens. */
export function announce(text) {
  fill(live, text)
}

/** Copies a text and says so. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text)
    announce(t('copied'))
    return true
  } catch {
    message(t('copy.failed'), 'error')
    return false
  }
}
