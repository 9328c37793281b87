/** Signing in: at the issuer, or with a token. */

import { h } from '../lib/h.js'
import { t } from '../lib/i18n.js'
import { failed } from '../lib/dialog.js'
import { useToken } from '../net/api.js'

/** The screen; `enter` is called when there is a token. */
export function signInScreen(config, error, enter) {
  const wrong = error ? h('p', { class: 'error', role: 'alert' }, t('signin.refused'), ' ', error.message) : null
  const heading = h('h1', null, t('signin'))
  if (config.signIn.kind === 'oidc') {
    const begin = async () => {
      try {
        await (await import('../net/oidc.js')).begin(config.signIn)
      } catch (reason) {
        failed(reason)
      }
    }
    const issuer = h('button', { type: 'button', class: 'primary', onclick: begin }, t('signin.issuer', { issuer: new URL(config.signIn.issuer).host }))
    const keys = config.signIn.keys ? tokenForm(enter) : null
    return h('section', { class: 'signin' }, heading, wrong, issuer, keys)
  }
  return h('section', { class: 'signin' }, heading, wrong, tokenForm(enter))
}

/** A field for a token or an API key. */
function tokenForm(enter) {
  const field = h('input', { type: 'password', id: 'token', autocomplete: 'off', spellcheck: 'false', required: true, 'aria-describedby': 'token-help' })
  const send = (event) => {
    event.preventDefault()
    const token = field.value.trim().replace(/^Bearer\s+/i, '')
    field.value = ''
    // What cannot stand in a header is no token.
    if (!/^[\x21-\x7e]+$/.test(token)) return failed(new Error(t('signin.notoken')))
    useToken(token)
    enter()
  }
  return h(
    'form',
    { onsubmit: send },
    h('label', { for: 'token' }, t('signin.token')),
    field,
    h('p', { id: 'token-help', class: 'muted' }, t('signin.help')),
    h('button', { type: 'submit', class: 'primary' }, t('signin')),
  )
}
