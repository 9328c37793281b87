/** The picture as it is on the screen, with its measurements and without the names in its corners, as a PNG. */

/** @param {import('./viewport.js').Viewport} viewport @returns {Promise<Blob>} */
export function snapshot(viewport) {
  const { canvas, over } = viewport
  const sheet = document.createElement('canvas')
  sheet.width = canvas.width
  sheet.height = canvas.height
  const pen = sheet.getContext('2d')
  // What was drawn is there in the same task only.
  viewport.hurries = false
  viewport.draw()
  pen.drawImage(canvas, 0, 0)
  pen.drawImage(over, 0, 0)
  return new Promise((resolve, reject) => sheet.toBlob((blob) => (blob ? resolve(blob) : reject(new Error('PNG'))), 'image/png'))
}
