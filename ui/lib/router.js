/**
 * Routes behind the `#` of the address: what is searched for never reaches a server or a log.
 *
 * `#/study/1.2.3?a=b` is the route `study` with the rest `['1.2.3']` and the query `a=b`.
 */

/** @returns {{ name: string, rest: string[], query: URLSearchParams }} */
export function current() {
  const hash = location.hash.replace(/^#\/?/, '')
  const [path, query = ''] = split(hash)
  const [name = '', ...rest] = path.split('/').filter(Boolean).map(decoded)
  return { name: name || 'studies', rest, query: new URLSearchParams(query) }
}

function split(text) {
  const at = text.indexOf('?')
  return at < 0 ? [text] : [text.slice(0, at), text.slice(at + 1)]
}

function decoded(text) {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

/** The address of a route, in the data partition that is looked at unless another one is named. */
export function to(name, rest = [], query = {}) {
  const path = [name, ...rest.map(encodeURIComponent)].join('/')
  const kept = Object.entries({ ...query, partition: query.partition ?? current().query.get('partition') }).filter(([, value]) => value !== null && value !== undefined && value !== '')
  const text = new URLSearchParams(kept).toString()
  return `#/${path}${text ? `?${text}` : ''}`
}

/** Goes to an address; `replace` leaves no step to come back to. */
export function go(address, replace = false) {
  if (replace) {
    history.replaceState(null, '', address)
    dispatchEvent(new HashChangeEvent('hashchange'))
  } else {
    location.hash = address
  }
}

/** Writes what is shown into the address without showing it anew. */
export function note(address) {
  history.replaceState(null, '', address)
}
