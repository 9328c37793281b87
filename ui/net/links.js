/**
 * Share links. What stands in a link is a code behind the `#`, which no browser sends to a server; it is exchanged here, in a
 * body, for a token that reads one study for some minutes, and again when that is over, for as long as the link is good.
 */

import { note, to } from '../lib/router.js'
import { askJson, partition, useToken } from './api.js'

/** Route of a link: `#/shared/CODE`. */
export const SHARED = 'shared'

const post = (path, body) => askJson(path, { method: 'POST', body: JSON.stringify(body), headers: { 'Content-Type': 'application/json' }, quiet: true })

/** The address of the page without what stands behind its `#`. */
const page = () => location.href.split('#')[0]

/** The address of a study for who may see it anyway. */
export const plainLink = (study) => `${page()}${to('study', [study])}`

/** A link that reads a study for so many seconds. */
export async function makeLink(study, seconds) {
  const { code, expires } = await post('ui/links', { study, seconds, ...(partition && { partition }) })
  return { link: `${page()}#/${SHARED}/${code}`, expires: new Date(expires * 1000) }
}

/** Takes the code out of the address at once and exchanges it; returns the study and its data partition. */
export async function openLink(code) {
  note(`#/${SHARED}`)
  const given = await post('ui/links/open', { code })
  useToken(given.token, async () => (await post('ui/links/open', { code })).token)
  return { study: given.study, partition: given.partition }
}
