/** Stores files: what a file says of itself, one request of several files, what the server answers for each. */

import { number, text, values } from '../dicom/json.js'
import { address, credentials } from './api.js'

/** Bytes at the beginning of a file that are read to know what it is. */
const HEAD = 4096
const DICOMDIR = '1.2.840.10008.1.3.10'

/**
 * What a file is: its SOP Instance UID, or why it is not sent. Reads the file meta information (PS3.10 §7.1).
 * @param {File} file
 * @returns {Promise<{ instance?: string, skip?: 'notdicom' | 'dicomdir' }>}
 */
export async function look(file) {
  const bytes = new Uint8Array(await file.slice(0, HEAD).arrayBuffer())
  const word = (at) => String.fromCharCode(...bytes.subarray(at, at + 4))
  if (bytes.length < 140 || word(128) !== 'DICM') return { skip: 'notdicom' }
  const view = new DataView(bytes.buffer)
  const found = {}
  for (let at = 132; at + 8 <= bytes.length && view.getUint16(at, true) === 2; ) {
    const element = view.getUint16(at + 2, true)
    const vr = String.fromCharCode(bytes[at + 4], bytes[at + 5])
    const isLong = ['OB', 'OW', 'SQ', 'UN', 'UT'].includes(vr)
    if (isLong && at + 12 > bytes.length) break
    const length = isLong ? view.getUint32(at + 8, true) : view.getUint16(at + 6, true)
    const start = at + (isLong ? 12 : 8)
    if (element === 2 || element === 3) found[element] = String.fromCharCode(...bytes.subarray(start, start + Math.min(length, 64))).replace(/[\0 ]+$/, '')
    at = start + length
  }
  if (found[2] === DICOMDIR) return { skip: 'dicomdir' }
  return { instance: found[3] ?? '' }
}

/**
 * Sends files in one request without reading them into memory.
 * @param {string} root
 * @param {File[]} files
 * @param {(sent: number) => void} progress
 * @returns {{ done: Promise<{ status: number, sets: object | null, retryAfter: number, text: string, requestId: string | null }>, abort: () => void }}
 */
export function send(root, files, progress) {
  const boundary = `stowage-${crypto.getRandomValues(new Uint32Array(4)).join('-')}`
  const parts = files.flatMap((file) => [`--${boundary}\r\nContent-Type: application/dicom\r\n\r\n`, file, '\r\n'])
  const body = new Blob([...parts, `--${boundary}--\r\n`])
  const request = new XMLHttpRequest()
  const done = new Promise((resolve, reject) => {
    request.open('POST', address(`${root}/studies`))
    request.setRequestHeader('Accept', 'application/dicom+json')
    request.setRequestHeader('Content-Type', `multipart/related; type="application/dicom"; boundary=${boundary}`)
    for (const [name, value] of Object.entries(credentials())) request.setRequestHeader(name, value)
    request.upload.addEventListener('progress', (event) => progress(event.loaded))
    request.addEventListener('load', () => {
      let sets = null
      try {
        sets = request.getResponseHeader('Content-Type')?.includes('json') ? JSON.parse(request.responseText) : null
      } catch {
        // The status must do.
      }
      resolve({ status: request.status, sets, text: request.responseText, retryAfter: Number(request.getResponseHeader('Retry-After')) || 0, requestId: request.getResponseHeader('X-Request-Id') })
    })
    request.addEventListener('error', () => reject(new TypeError('network')))
    request.addEventListener('abort', () => reject(new DOMException('aborted', 'AbortError')))
    request.send(body)
  })
  return { done, abort: () => request.abort() }
}

/** What became of each instance of a request, by its UID: `study` where it lies, or a reason. */
export function outcomes(sets) {
  const found = new Map()
  for (const item of values(sets, '00081199')) {
    const at = /\/studies\/([0-9.]+)/.exec(text(item, '00081190'))
    found.set(text(item, '00081155'), { study: at?.[1] ?? '' })
  }
  for (const item of [...values(sets, '00081198'), ...values(sets, '0008119A')]) {
    const said = values(item, '00741048').map((comment) => text(comment, '00000902'))
    found.set(text(item, '00081155'), { code: number(item, '00081197') ?? 0, reason: said.filter(Boolean).join(' ') })
  }
  return found
}
