/** Pictures that are scrolled together: by position in the patient where both have one, else by as many slices. */

import { planeOf } from '../dicom/geometry.js'

/**
 * Takes another viewport along.
 * @param {import('./viewport.js').Viewport} leader
 * @param {import('./viewport.js').Viewport} other
 * @param {number} by slices that the leader went
 */
export function follow(leader, other, by) {
  if (!leader.frame || other.frames.length < 2) return
  const here = planeOf(leader.frame)
  const there = other.frame && planeOf(other.frame)
  if (!here || !there || !isSame(here, there)) return void other.goTo(other.index + by)
  let [best, least] = [other.index, Infinity]
  for (const [index, frame] of other.frames.entries()) {
    const away = Math.abs((planeOf(frame)?.along ?? Infinity) - here.along)
    if (away < least) [best, least] = [index, away]
  }
  other.goTo(best)
}

const isSame = (one, other) => one.reference !== '' && one.reference === other.reference && one.plane === other.plane
