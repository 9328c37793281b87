/** Where an image lies on the canvas: zoom, position, quarter turns, mirrors. Points are pixels of each. */

/** @typedef {{ zoom: number, x: number, y: number, turns: number, flipX: boolean, flipY: boolean }} Place */

/** @returns {Place} */
export const fresh = () => ({ zoom: 1, x: 0, y: 0, turns: 0, flipX: false, flipY: false })

const COS = [1, 0, -1, 0]
const SIN = [0, 1, 0, -1]

/**
 * The way from pixels of the image to those of the canvas as `[a, b, c, d, e, f]`: x' = ax + cy + e, y' = bx + dy + f.
 * @param {Place} place
 * @param {{ columns: number, rows: number, aspect: number }} image
 * @param {{ width: number, height: number }} canvas
 */
export function forward(place, image, canvas) {
  const [cos, sin] = [COS[place.turns], SIN[place.turns]]
  const sx = place.zoom * (place.flipX ? -1 : 1)
  const sy = place.zoom * image.aspect * (place.flipY ? -1 : 1)
  const [a, b, c, d] = [cos * sx, sin * sx, -sin * sy, cos * sy]
  const [cx, cy] = [image.columns / 2, image.rows / 2]
  return [a, b, c, d, canvas.width / 2 + place.x - a * cx - c * cy, canvas.height / 2 + place.y - b * cx - d * cy]
}

/** The way back. */
export function inverse([a, b, c, d, e, f]) {
  const size = a * d - b * c
  return [d / size, -b / size, -c / size, a / size, (c * f - d * e) / size, (b * e - a * f) / size]
}

/** A point taken along. */
export const along = ([a, b, c, d, e, f], { x, y }) => ({ x: a * x + c * y + e, y: b * x + d * y + f })

/** The zoom at which the whole image is seen. */
export function fitting(place, image, canvas) {
  const [width, height] = [image.columns, image.rows * image.aspect]
  const [w, h] = place.turns % 2 ? [height, width] : [width, height]
  return Math.min(canvas.width / w, canvas.height / h)
}
