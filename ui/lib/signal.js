/** A value that tells when it changes. */

/**
 * @template T
 * @param {T} value
 */
export function signal(value) {
  const listeners = new Set()
  return {
    /** @returns {T} */
    get: () => value,
    /** @param {T} next */
    set(next) {
      value = next
      for (const listener of [...listeners]) listener(value)
    },
    /** Calls now and at each change; returns what ends that. */
    follow(listener) {
      listeners.add(listener)
      listener(value)
      return () => listeners.delete(listener)
    },
  }
}
