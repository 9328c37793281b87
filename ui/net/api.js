/**
 * Requests to the server this page came from. The token is in this module's memory and nowhere else: no URL, no storage.
 */

import { t } from '../lib/i18n.js'
import { signal } from '../lib/signal.js'

/** The folder above the page: where the roots of the service are, also behind a proxy that adds a prefix. */
export const base = new URL('../', document.baseURI)
/** Root of the standard, below the data partition that is looked at. */
export let DICOM = 'dicom-web'
/** Where studies are looked for, likewise: there capital letters do not count, in any text. */
export let LIST = 'v2/studies'
/** The data partition that is looked at; empty where there are none. */
export let partition = ''
/** Tries of a request that reads when the server is busy. */
const TRIES = 4
/** Longest wait between two tries, in milliseconds. */
const LONGEST_WAIT = 20_000

/** Who is signed in: what `/ui/me` answered, `null` before. */
export const me = signal(null)
/** Other viewers that a study can be opened in, as `/ui/config` names them. */
export const openIn = signal([])
/** Called when the server wants to know who asks. */
export const signInNeeded = signal(0)

let token = null
let refresh = null

/** Looks at a data partition from now on. */
export function usePartition(name) {
  const below = name ? `/partitions/${encodeURIComponent(name)}` : ''
  partition = name
  DICOM = `dicom-web${below}`
  LIST = `v2${below}/studies`
}

/** Uses a token; `renew` gets another when this one is no good any more. */
export function useToken(next, renew = null) {
  token = next
  refresh = renew
}

/** Whether requests carry a token. */
export const hasToken = () => token !== null

/** What a failed request says. */
export class ApiError extends Error {
  /** @param {number} status @param {string} text @param {string | null} requestId */
  constructor(status, text, requestId, body = null) {
    super(text)
    this.status = status
    this.requestId = requestId
    this.body = body
    this.signIn = status === 401
  }
}

/** The headers of who asks. */
export const credentials = () => (token ? { Authorization: `Bearer ${token}` } : {})

/** The address of a resource below the page's server. */
export const address = (path) => new URL(path, base)

/**
 * Asks; answers of 4xx and 5xx are thrown in words.
 * @param {string | URL} path below the folder of the server
 * @param {{ method?: string, accept?: string, headers?: object, body?: BodyInit, signal?: AbortSignal, priority?: string, quiet?: boolean }} [options]
 */
export async function ask(path, options = {}) {
  const { accept = 'application/json', headers = {}, quiet = false, ...rest } = options
  const reads = !rest.method || rest.method === 'GET'
  for (let tried = 1; ; tried += 1) {
    let answer
    try {
      answer = await fetch(address(path), { ...rest, headers: { Accept: accept, ...credentials(), ...headers } })
    } catch (error) {
      if (error.name === 'AbortError') throw error
      if (!reads || tried >= TRIES) throw new ApiError(0, t('error.network'), null)
      await wait(500 * 2 ** tried, rest.signal)
      continue
    }
    if (answer.ok) return answer
    const busy = answer.status === 503 || answer.status === 429
    if (busy && reads && tried < TRIES) {
      const after = Number(answer.headers.get('Retry-After')) || tried
      await wait(Math.min(after * 1000, LONGEST_WAIT), rest.signal)
      continue
    }
    if (answer.status === 401 && refresh && tried === 1) {
      const renewed = await refresh().catch(() => null)
      if (renewed) {
        token = renewed
        continue
      }
    }
    const error = await failure(answer)
    if (error.signIn && !quiet) signInNeeded.set(signInNeeded.get() + 1)
    throw error
  }
}

/** JSON of an answer; `null` for 204. */
export async function askJson(path, options) {
  const answer = await ask(path, options)
  return answer.status === 204 ? null : answer.json()
}

/** Waits, unless it is aborted. */
export function wait(milliseconds, aborted) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds)
    aborted?.addEventListener('abort', () => {
      clearTimeout(timer)
      reject(new DOMException('aborted', 'AbortError'))
    })
  })
}

async function failure(answer) {
  const id = answer.headers.get('X-Request-Id')
  let text = ''
  let body = null
  try {
    const said = await answer.text()
    body = answer.headers.get('Content-Type')?.includes('json') ? JSON.parse(said) : null
    text = body?.detail ?? body?.title ?? (body ? '' : said.slice(0, 300))
  } catch {
    // The status alone must do.
  }
  const known = { 403: t('error.forbidden'), 404: t('error.gone'), 503: t('error.busy') }[answer.status]
  return new ApiError(answer.status, [known, text].filter(Boolean).join(' ') || t('error.status', { status: answer.status }), id, body)
}
