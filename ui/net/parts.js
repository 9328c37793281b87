/** The parts of a multipart answer, one after the other while it is still coming. */

/** Bytes of the head of a part at most, and those that are read for one at a time. */
const HEAD = 16 << 10
const SOME = 4 << 10

/** A reader, and whether it reads into buffers that it is lent (not in every browser). */
function readerOf(stream) {
  try {
    return [stream.getReader({ mode: 'byob' }), true]
  } catch {
    return [stream.getReader(), false]
  }
}

/**
 * @param {Response} answer
 * @param {(head: string) => number} sizeOf bytes of the part of a head; every part must be told
 * @returns {AsyncGenerator<{ head: string, body: ArrayBuffer }>}
 */
export async function* parts(answer, sizeOf) {
  const boundary = /boundary="?([^";\s]+)/.exec(answer.headers.get('Content-Type') ?? '')?.[1]
  if (!boundary) throw new Error('multipart')
  const [reader, lends] = readerOf(answer.body)
  let rest = new Uint8Array(0)

  const more = async () => {
    const { value, done } = await (lends ? reader.read(new Uint8Array(SOME)) : reader.read())
    if (done) throw new Error('short')
    if (!rest.length) return void (rest = value)
    const joined = new Uint8Array(rest.length + value.length)
    joined.set(rest)
    joined.set(value, rest.length)
    rest = joined
  }
  const take = async (count) => {
    while (rest.length < count) await more()
    const taken = rest.subarray(0, count)
    rest = rest.subarray(count)
    return taken
  }
  const letters = (bytes) => String.fromCharCode(...bytes)
  /** The text up to an empty line. */
  const head = async () => {
    for (let seen = 0; ; ) {
      for (; seen + 4 <= rest.length; seen += 1) {
        if (rest[seen] === 13 && rest[seen + 1] === 10 && rest[seen + 2] === 13 && rest[seen + 3] === 10) return letters(await take(seen + 4))
      }
      if (seen > HEAD) throw new Error('multipart')
      await more()
    }
  }
  /** Fills a part as its bytes come: straight into its buffer, which is lent for each read, else copied once. */
  const body = async (size) => {
    let out = new Uint8Array(size)
    for (let at = 0; at < size; ) {
      if (lends && !rest.length) {
        const { value, done } = await reader.read(new Uint8Array(out.buffer, at, size - at))
        if (done) throw new Error('short')
        out = new Uint8Array(value.buffer)
        at += value.length
        continue
      }
      if (!rest.length) await more()
      const some = rest.subarray(0, size - at)
      out.set(some, at)
      rest = rest.subarray(some.length)
      at += some.length
    }
    return out.buffer
  }

  try {
    for (;;) {
      // A value of odd length has a byte more, then comes the end of the line before the boundary.
      while (rest.length < 3) await more()
      if (rest[0] !== 45 && rest[0] !== 13) await take(1)
      while (rest.length < 2) await more()
      if (rest[0] === 13) await take(2)
      if (letters(await take(boundary.length + 2)) !== `--${boundary}`) throw new Error('multipart')
      if (letters(await take(2)) === '--') return
      const words = await head()
      yield { head: words, body: await body(sizeOf(words)) }
    }
  } finally {
    reader.cancel().catch(() => {})
  }
}
