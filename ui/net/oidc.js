/**
 * OpenID Connect: authorization code with PKCE (RFC 7636), in the same window.
 *
 * Kept over the way to the issuer and back: state, nonce, verifier and the screen, in the tab's session; never a token.
 */

import { t } from '../lib/i18n.js'
import { note } from '../lib/router.js'
import { useToken } from './api.js'

const PLACE = 'stowage.signin'

const random = () => encoded(crypto.getRandomValues(new Uint8Array(32)))

function encoded(bytes) {
  return btoa(String.fromCharCode(...bytes)).replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/, '')
}

/** The page's own address, where the issuer sends people back to. */
const here = () => new URL('.', document.baseURI).href

async function discovered(issuer) {
  const answer = await fetch(`${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`, { credentials: 'omit' })
  if (!answer.ok) throw new Error(t('signin.issuer.failed'))
  const found = await answer.json()
  if (found.issuer !== issuer) throw new Error(t('signin.issuer.failed'))
  return found
}

/** Goes to the issuer. */
export async function begin(settings) {
  if (!globalThis.crypto?.subtle) throw new Error(t('signin.https'))
  const issuer = await discovered(settings.issuer)
  const [state, nonce, verifier] = [random(), random(), random()]
  const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(verifier))
  // Without its query: what was searched for may be a name.
  const screen = location.hash.split('?')[0]
  sessionStorage.setItem(PLACE, JSON.stringify({ state, nonce, verifier, screen }))
  const target = new URL(issuer.authorization_endpoint)
  const query = {
    response_type: 'code',
    client_id: settings.clientId,
    redirect_uri: here(),
    scope: settings.scopes,
    state,
    nonce,
    code_challenge: encoded(new Uint8Array(digest)),
    code_challenge_method: 'S256',
  }
  for (const [name, value] of Object.entries(query)) target.searchParams.set(name, value)
  location.assign(target)
}

/** Takes the answer of the issuer out of the address and makes it a token; nothing when there is none. */
export async function comeBack(settings) {
  const answer = new URL(location.href).searchParams
  if (!answer.has('state')) return
  const kept = JSON.parse(sessionStorage.getItem(PLACE) ?? 'null')
  sessionStorage.removeItem(PLACE)
  history.replaceState(null, '', `${location.pathname}${kept?.screen || '#/studies'}`)
  if (!kept || answer.get('state') !== kept.state) throw new Error(t('signin.state'))
  if (answer.has('iss') && answer.get('iss') !== settings.issuer) throw new Error(t('signin.state'))
  if (answer.has('error')) throw new Error(`${t('signin.refused')} ${answer.get('error_description') ?? answer.get('error')}`)
  const issuer = await discovered(settings.issuer)
  const ask = async (form) => {
    const body = new URLSearchParams({ client_id: settings.clientId, ...form })
    const answer = await fetch(issuer.token_endpoint, { method: 'POST', body, credentials: 'omit' })
    if (!answer.ok) throw new Error(t('signin.refused'))
    return answer.json()
  }
  const given = await ask({ grant_type: 'authorization_code', code: answer.get('code') ?? '', redirect_uri: here(), code_verifier: kept.verifier })
  if (given.id_token) check(given.id_token, settings, kept.nonce)
  if (!given.access_token) throw new Error(t('signin.refused'))
  let renewal = given.refresh_token ?? null
  const renew = async () => {
    if (!renewal) return null
    const next = await ask({ grant_type: 'refresh_token', refresh_token: renewal })
    renewal = next.refresh_token ?? renewal
    return next.access_token ?? null
  }
  useToken(given.access_token, renew)
  note(location.hash || '#/studies')
}

/** Checks what the ID token says; that it is the issuer's, TLS says (OpenID Connect Core 3.1.3.7). */
function check(token, settings, nonce) {
  const part = token.split('.')[1] ?? ''
  const bytes = Uint8Array.from(atob(part.replaceAll('-', '+').replaceAll('_', '/')), (letter) => letter.charCodeAt(0))
  const claims = JSON.parse(new TextDecoder().decode(bytes))
  const meant = [claims.aud].flat().includes(settings.clientId)
  const fresh = claims.exp * 1000 > Date.now() - 60_000
  if (claims.iss !== settings.issuer || !meant || !fresh || claims.nonce !== nonce) throw new Error(t('signin.state'))
}

/** Signs out at the issuer too, where it knows how. */
export async function leave(settings) {
  useToken(null)
  const issuer = await discovered(settings.issuer).catch(() => null)
  if (!issuer?.end_session_endpoint) return
  const target = new URL(issuer.end_session_endpoint)
  target.searchParams.set('client_id', settings.clientId)
  target.searchParams.set('post_logout_redirect_uri', here())
  location.assign(target)
}
