/** Everything that is being stored: files in a queue, requests of several files, what became of each; lives on all screens. */

import { t } from '../lib/i18n.js'
import { DICOM, wait } from './api.js'
import { look, outcomes, send } from './stow.js'
import { uploadState as state } from './upload_state.js'

/** Requests at the same time: of the six that browsers have for a server, so that the other screens have some, too. */
const REQUESTS = 4
/** Files and bytes of a request at most; one file may be larger. */
const FILES = 40
const BYTES = 64 << 20
/** Tries of a request that did not get through, and the longest wait between two, in milliseconds: some minutes in all. */
const TRIES = 30
const LONGEST_WAIT = 20_000
/** Files that are looked into at the same time: few, for the browser asks the disk for each in the same task. */
const LOOKS = 8
/** Milliseconds between two tellings; each is drawn, which takes a processor from what is sent. */
const TELL = 250

/**
 * @typedef {{ file: File, root: string, path: string, size: number, state: 'waiting' | 'sending' | 'stored' | 'skipped' | 'failed', reason: string, instance: string, study: string }} Item
 */

/** @type {Item[]} */
let items = []
let sending = new Set()
let paused = false
let looking = 0
let notice = ''
/** Requests that did not get through at first. */
let again = 0
let aborted = new AbortController()
let begun = 0
let told = 0

state.set(summary())

export const uploads = {
  state,
  add,
  pause: () => set(true),
  resume: () => set(false),
  cancel,
  retry,
  clear,
  /** @returns {Item[]} those that were not stored */
  failures: () => items.filter((item) => item.state === 'failed'),
}

function summary() {
  const count = { waiting: 0, sending: 0, stored: 0, skipped: 0, failed: 0 }
  let [total, sent] = [0, 0]
  const studies = new Map()
  for (const item of items) {
    count[item.state] += 1
    if (item.state === 'skipped') continue
    total += item.size
    if (item.state === 'stored' || item.state === 'failed') sent += item.size
    if (item.study) studies.set(item.study, (studies.get(item.study) ?? 0) + 1)
  }
  for (const request of sending) sent += Math.min(request.sent, request.bytes)
  const seconds = begun ? (performance.now() - begun) / 1000 : 0
  const running = count.waiting + count.sending + looking > 0
  return { ...count, total, sent, studies, paused, running, looking: looking > 0, notice, again, rate: seconds > 0.5 ? sent / seconds : 0 }
}

function tell(now = false) {
  if (now) {
    told = performance.now()
    state.set(summary())
  } else if (performance.now() - told > TELL) tell(true)
}

/**
 * Adds files, as they are found.
 * @param {AsyncIterable<{ file: File, path: string }> | Iterable<{ file: File, path: string }>} files
 */
async function add(files) {
  looking += 1
  begun ||= performance.now()
  const mine = aborted
  // Where it is to be stored stays as it is now, whatever is looked at later.
  const root = DICOM
  try {
    let some = []
    const take = async () => {
      const looked = await Promise.all(some.map((one) => itemOf(root, one)))
      some = []
      if (mine.signal.aborted) return
      items.push(...looked)
      tell()
      work()
    }
    for await (const one of files) {
      if (mine.signal.aborted) return
      some.push(one)
      if (some.length >= LOOKS) await take()
    }
    await take()
  } finally {
    looking -= 1
    work()
    tell(true)
  }
}

/** @returns {Promise<Item>} */
async function itemOf(root, { file, path }) {
  // Asked once: for a file of a folder the browser looks at the disk each time.
  const item = { file, root, path, size: file.size, state: 'waiting', reason: '', instance: '', study: '' }
  try {
    const { skip, instance = '' } = await look(file)
    item.instance = instance
    if (skip) Object.assign(item, { state: 'skipped', reason: skip })
  } catch (error) {
    Object.assign(item, { state: 'failed', reason: t('upload.unreadable', { reason: error.message }) })
  }
  return item
}

function set(next) {
  paused = next
  begun = next ? 0 : performance.now()
  work()
  tell(true)
}

/** Ends what is running; what is stored stays. */
function cancel() {
  aborted.abort()
  aborted = new AbortController()
  for (const item of items) if (item.state === 'waiting' || item.state === 'sending') Object.assign(item, { state: 'failed', reason: t('upload.cancelled') })
  paused = false
  tell(true)
}

function retry() {
  for (const item of items) if (item.state === 'failed') Object.assign(item, { state: 'waiting', reason: '' })
  begun = performance.now()
  work()
  tell(true)
}

function clear() {
  items = items.filter((item) => item.state === 'waiting' || item.state === 'sending')
  begun = items.length ? begun : 0
  if (!items.length) again = 0
  tell(true)
}

/** Begins requests while there is room for them. */
function work() {
  while (!paused && sending.size < REQUESTS) {
    const batch = next()
    if (!batch.length) break
    run(batch)
  }
  guard()
}

/** The next files of a request; one that is only beginning waits for more while files are still being found. */
function next() {
  const batch = []
  let bytes = 0
  for (const item of items) {
    if (item.state !== 'waiting') continue
    if (batch.length && (batch.length >= FILES || bytes + item.size > BYTES)) return batch
    if (batch.length && item.root !== batch[0].root) continue
    batch.push(item)
    bytes += item.size
  }
  return looking && batch.length < FILES && sending.size ? [] : batch
}

async function run(batch) {
  const bytes = batch.reduce((sum, item) => sum + item.size, 0)
  const request = { sent: 0, bytes }
  const mine = aborted.signal
  for (const item of batch) item.state = 'sending'
  sending.add(request)
  try {
    const answer = await through(batch, request, mine)
    if (!mine.aborted) settle(batch, answer)
  } catch (error) {
    if (!mine.aborted) for (const item of batch) Object.assign(item, { state: 'failed', reason: t('error.network') })
  }
  sending.delete(request)
  tell(true)
  work()
}

/** Sends until the server has taken the request or said what is wrong; storing the same instance twice changes nothing. */
async function through(batch, request, aborted) {
  for (let tried = 1; ; tried += 1) {
    let after = Math.min(500 * 2 ** tried, LONGEST_WAIT)
    try {
      const { done, abort } = send(batch[0].root, batch.map((item) => item.file), (sent) => {
        request.sent = sent
        tell()
      })
      aborted.addEventListener('abort', abort, { once: true })
      const answer = await done
      aborted.removeEventListener('abort', abort)
      const again = answer.status === 503 || answer.status === 429
      if (!again || tried >= TRIES) {
        notice = ''
        return answer
      }
      notice = t('upload.busy')
      after = Math.min((answer.retryAfter || tried) * 1000, LONGEST_WAIT)
    } catch (error) {
      if (error.name === 'AbortError' || tried >= TRIES) throw error
      notice = t('upload.away')
    }
    request.sent = 0
    if (tried === 1) again += 1
    tell(true)
    await wait(after, aborted)
  }
}

function settle(batch, answer) {
  const found = answer.sets ? outcomes(answer.sets) : new Map()
  for (const item of batch) {
    const outcome = found.get(item.instance) ?? found.get('')
    if (outcome?.study !== undefined) Object.assign(item, { state: 'stored', study: outcome.study })
    else Object.assign(item, { state: 'failed', reason: reason(outcome, answer) })
  }
}

function reason(outcome, answer) {
  if (outcome) {
    const code = `0x${outcome.code.toString(16).toUpperCase().padStart(4, '0')}`
    return [outcome.reason || t('upload.refused'), `(${code})`].join(' ')
  }
  const said = answer.sets?.detail ?? answer.sets?.title ?? answer.text.slice(0, 300)
  const id = answer.requestId ? t('error.request', { id: answer.requestId }) : ''
  return [said || t('error.status', { status: answer.status }), id].filter(Boolean).join(' ')
}

/** The browser asks before the page is left while something is being sent. */
function guard() {
  const busy = sending.size > 0 || looking > 0 || items.some((item) => item.state === 'waiting')
  if (busy) addEventListener('beforeunload', hold)
  else removeEventListener('beforeunload', hold)
}

function hold(event) {
  event.preventDefault()
}

/**
 * The files of what was dropped, those in folders too. The entries must be taken before anything is waited for.
 * @param {DataTransfer} transfer
 */
export function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean)
  return entries.length ? walk(entries) : [...transfer.files].map((file) => ({ file, path: file.name }))
}

async function* walk(entries) {
  const waiting = [...entries]
  while (waiting.length) {
    const entry = waiting.shift()
    if (entry.isFile) {
      const file = await new Promise((resolve, reject) => entry.file(resolve, reject)).catch(() => null)
      if (file) yield { file, path: entry.fullPath.replace(/^\//, '') }
      continue
    }
    const reader = entry.createReader()
    // A folder is told in pieces, until there is none.
    for (;;) {
      const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject)).catch(() => [])
      if (!some.length) break
      waiting.push(...some)
    }
  }
}
