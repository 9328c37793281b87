/** Three planes of a volume side by side, with a cross that says where the others cut, and one window for all. */

import { PLANES } from './volume.js'

export class Planes {
  /** @param {import('./volume.js').Volume} volume @param {import('./viewport.js').Viewport[]} viewports in the order of PLANES */
  constructor(volume, viewports) {
    this.volume = volume
    this.viewports = viewports
    this.at = { axial: Math.floor((volume.count - 1) / 2), coronal: Math.floor((volume.rows - 1) / 2), sagittal: Math.floor((volume.columns - 1) / 2) }
    for (const [index, viewport] of viewports.entries()) {
      viewport.cross = () => this.point(PLANES[index])
      viewport.oncross = (point) => this.moveTo(PLANES[index], point)
    }
  }

  /** Where the other two planes meet, in pixels of a plane's image. */
  point(plane) {
    const { axial, coronal, sagittal } = this.at
    const down = this.volume.count - 1 - axial
    if (plane === 'axial') return { x: sagittal + 0.5, y: coronal + 0.5 }
    return { x: (plane === 'coronal' ? sagittal : coronal) + 0.5, y: down + 0.5 }
  }

  /** Takes the other planes to a point of one. */
  moveTo(plane, { x, y }) {
    const [column, row] = [Math.floor(x), Math.floor(y)]
    const wanted = plane === 'axial' ? { sagittal: column, coronal: row } : { [plane === 'coronal' ? 'sagittal' : 'coronal']: column, axial: this.volume.count - 1 - row }
    for (const [index, name] of PLANES.entries()) if (name in wanted) this.viewports[index].goTo(wanted[name])
  }

  /** One of them went to another cut, or has another window: the others follow. */
  changed(viewport) {
    const plane = PLANES[this.viewports.indexOf(viewport)]
    if (!plane || viewport.index < 0) return
    const others = this.viewports.filter((other) => other !== viewport)
    if (this.at[plane] !== viewport.index) {
      this.at[plane] = viewport.index
      for (const other of others) other.paint()
    }
    if (!viewport.chosen) return
    for (const other of others) if (other.window !== viewport.window && other.image) Object.assign(other, { window: viewport.window, chosen: true }).paint()
  }

  /** Another thickness: all are made anew. */
  setSlab(millimetres) {
    this.volume.slab = millimetres
    for (const viewport of this.viewports) viewport.take(viewport.frame, this.volume.image(viewport.frame))
  }

  end() {
    this.volume.end()
  }
}
