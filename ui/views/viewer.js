/** The viewer: series beside pictures, tools above them. */

import { cut, fill, h, icon, told } from '../lib/h.js'
import { t } from '../lib/i18n.js'
import { date } from '../lib/format.js'
import { announce, failed, message } from '../lib/dialog.js'
import { note, to } from '../lib/router.js'
import { number, text } from '../dicom/json.js'
import { framesOf } from '../dicom/geometry.js'
import { kindOf } from '../dicom/pixels.js'
import { CT_WINDOWS, fullWindow, ownWindows } from '../dicom/window.js'
import { metadata, path, series as readSeries, thumbnail } from '../net/qido.js'
import { Store } from '../viewer/store.js'
import { Viewport } from '../viewer/viewport.js'
import { documentOf } from '../viewer/document.js'
import { TOOLS, usePointer } from '../viewer/tools.js'
import { viewerKeys } from '../viewer/commands.js'
import { cine } from '../viewer/cine.js'
import { follow } from '../viewer/linked.js'
import { saveBlob } from '../net/download.js'
import { useKeys } from '../lib/keys.js'

/** A window that has a width, where there was a table. */
const plain = ({ center, width, shape }) => ({ center, width, shape: shape === 'LUT' ? 'LINEAR' : shape })

/** Layouts: rows × columns. */
const LAYOUTS = ['1×1', '1×2', '2×1', '2×2']
/** Three planes: a large one and two beside it. */
const THREE = '"a b" minmax(0, 1fr) "a c" minmax(0, 1fr) / minmax(0, 1fr) minmax(0, 1fr)'
/** Millimetres of slabs; 0 is a single cut. */
const SLABS = [0, 5, 10, 20, 40]

/** Shows the screen. */
export function show(root, { rest: [study, wanted] }) {
  const leaving = new AbortController()
  const { signal } = leaving
  const store = new Store()
  const urls = []
  const grid = h('div', { class: 'grid' })
  const strip = h('ul', { class: 'strip', 'aria-label': t('study.series') })
  const heading = h('h1', { class: 'hidden' }, t('viewer'))
  /** @type {{ place: HTMLElement, viewport: Viewport | null, series: string, end: AbortController }[]} */
  let panes = []
  let active = 0
  let tool = 'window'
  let isLinked = true
  /** The planes of a volume, while they are shown. @type {import('../viewer/mpr.js').Planes | null} */
  let planes = null
  const cache = new Map()
  const films = cine(() => current()?.viewport, told => fill(play, icon(told ? 'pause' : 'play')) && play.setAttribute('aria-pressed', String(told)))

  const current = () => panes[active]
  const viewport = () => current()?.viewport
  const on = (run) => () => viewport() && run(viewport())

  const toolButtons = TOOLS.map((name) => h('button', { type: 'button', 'data-tool': name, 'aria-pressed': String(name === tool), title: t(`tool.${name}`), 'aria-label': t(`tool.${name}`), onclick: () => choose(name) }, icon(name)))
  const press = (name, picture, run) => h('button', { type: 'button', title: t(name), 'aria-label': t(name), onclick: run }, icon(picture))
  const play = h('button', { type: 'button', 'aria-pressed': 'false', title: t('viewer.cine'), 'aria-label': t('viewer.cine'), onclick: () => films.toggle() }, icon('play'))
  const rate = h('input', { type: 'number', min: '1', max: '60', step: '1', value: '15', class: 'narrow', 'aria-label': t('viewer.rate'), onchange: () => films.setRate(Number(rate.value) || 15) })
  const width = windowField('viewer.width', (value, window) => ({ ...plain(window), width: value }))
  const center = windowField('viewer.center', (value, window) => ({ ...plain(window), center: value }))
  const presets = h('select', { 'aria-label': t('viewer.presets'), onchange: chosen })
  const mpr = h('button', { type: 'button', 'aria-pressed': 'false', title: t('viewer.mpr'), 'aria-label': t('viewer.mpr'), onclick: () => togglePlanes().catch(failed) }, icon('cube'))
  const slab = h('select', { 'aria-label': t('mpr.slab'), hidden: true, onchange: () => planes?.setSlab(Number(slab.value)) }, SLABS.map((mm) => h('option', { value: String(mm) }, mm ? t('mpr.mm', { mm: String(mm) }) : t('mpr.thin'))))
  const link = h('button', { type: 'button', 'aria-pressed': 'true', title: t('viewer.link'), 'aria-label': t('viewer.link'), onclick: linkOrNot }, icon('link'))
  const layouts = h('select', { 'aria-label': t('viewer.layout'), onchange: () => lay(layouts.value) }, LAYOUTS.map((name) => h('option', { value: name }, name)))
  const bar = h(
    'div',
    { class: 'tools', role: 'toolbar', 'aria-label': t('viewer.tools') },
    h('a', { class: 'button', href: to('study', [study]), title: t('study'), 'aria-label': t('study') }, icon('left')),
    h('span', { class: 'group' }, toolButtons),
    h('span', { class: 'group' }, h('label', null, 'W ', width), h('label', null, 'L ', center), presets),
    h('span', { class: 'group' }, press('viewer.fit', 'fit', on((one) => one.fit())), press('viewer.rotate', 'rotate', on((one) => one.turn())), press('viewer.fliph', 'fliph', on((one) => one.mirror(true))), press('viewer.flipv', 'flipv', on((one) => one.mirror(false))), press('viewer.invert', 'invert', on((one) => one.invert())), press('viewer.reset', 'reset', on((one) => one.reset()))),
    h('span', { class: 'group' }, play, rate),
    h('span', { class: 'group' }, layouts, link, mpr, slab, press('viewer.snapshot', 'camera', savePicture), press('tags', 'tags', openTags), press('viewer.full', 'full', fullScreen)),
  )
  const element = h('div', { class: 'viewer' }, heading, bar, h('div', { class: 'body' }, strip, grid))
  fill(root, element)

  function windowField(name, made) {
    const field = h('input', {
      type: 'number',
      step: 'any',
      class: 'narrow',
      'aria-label': t(name),
      onchange: () => {
        const value = Number(field.value)
        if (field.value && viewport()?.window) viewport().setWindow(made(value, viewport().window))
      },
    })
    return field
  }

  function choose(name) {
    tool = name
    for (const button of toolButtons) button.setAttribute('aria-pressed', String(button.dataset.tool === name))
    if (viewport()) viewport().cursor = null
    viewport()?.paint()
    announce(t(`tool.${name}`))
  }

  /** Windows of the image, then those people use for CT, then all values. */
  function offered(one) {
    if (!one?.shown || !one.hasWindow) return []
    const own = ownWindows(one.shown.attributes).map((window, index) => ({ ...window, name: window.name || t('window.own', { number: index + 1 }) }))
    const usual = text(one.shown.attributes, '00080060') === 'CT' ? CT_WINDOWS.map((window) => ({ ...window, shape: 'LINEAR', name: t(window.name) })) : []
    const table = one.image.lut ? [{ ...one.image.lut, name: one.image.lut.name || t('window.table') }] : []
    return [...own, ...table, ...usual, { ...fullWindow(one.image.data, one.shown.attributes), name: t('window.full') }]
  }

  function chosen() {
    const window = offered(viewport())[Number(presets.value)]
    if (window) viewport().setWindow(window)
  }

  let told_ = ''
  function linkOrNot() {
    isLinked = !isLinked
    link.setAttribute('aria-pressed', String(isLinked))
    announce(t(isLinked ? 'viewer.linked' : 'viewer.unlinked'))
  }

  function savePicture() {
    const one = viewport()
    if (!one?.image) return
    // What few people need is loaded when they do.
    import('../viewer/snapshot.js')
      .then(({ snapshot }) => snapshot(one))
      .then((blob) => saveBlob(blob, `${one.frame.instance}-${one.frame.frame}.png`))
      .catch(failed)
  }

  /** Takes the other pictures along when the active one went to another slice. */
  function lead(one) {
    const pane = current()
    const before = pane.index
    pane.index = one.index
    if (!isLinked || before === undefined || before === one.index || pane.led !== one.frames) return void (pane.led = one.frames)
    for (const other of panes) if (other !== pane && other.viewport) follow(one, other.viewport, one.index - before)
  }

  /** Writes what is so into the fields. */
  function changed(one) {
    planes?.changed(one)
    if (one !== viewport()) return
    if (!planes) lead(one)
    const shown = (value) => String(Math.round(value * 100) / 100)
    const off = !one.hasWindow
    for (const [field, value] of [[width, one.window?.width], [center, one.window?.center]]) {
      field.disabled = off
      if (document.activeElement !== field) field.value = off || value === undefined ? '' : shown(value)
    }
    presets.disabled = off
    const key = one.shown && one.image ? `${one.shown.series} ${off}` : ''
    if (key !== told_) {
      told_ = key
      fill(presets, h('option', { value: '' }, t('viewer.presets')), offered(one).map((window, index) => h('option', { value: String(index) }, window.name)))
    }
    presets.value = ''
    play.disabled = one.frames.length < 2
    const fps = one.frame && (number(one.frame.attributes, '00180040') ?? (1000 / (number(one.frame.attributes, '00181063') || 0)))
    if (key && films.series !== key) {
      films.series = key
      if (Number.isFinite(fps) && fps >= 1) {
        rate.value = String(Math.min(60, Math.round(fps)))
        films.setRate(Number(rate.value))
      }
    }
  }

  function openTags() {
    const frame = viewport()?.frame ?? current()?.frame
    if (frame) location.hash = to('tags', [study, frame.series, frame.instance])
  }

  function fullScreen() {
    if (document.fullscreenElement) document.exitFullscreen()
    else element.requestFullscreen().catch(failed)
  }

  /** Makes as many panes as the layout has; what is shown stays. */
  function lay(name) {
    closePlanes()
    const [rows, columns] = name.split('×').map(Number)
    layouts.value = name
    arrange(rows * columns, `repeat(${rows}, minmax(0, 1fr)) / repeat(${columns}, minmax(0, 1fr))`)
  }

  function arrange(count, template) {
    grid.style.gridTemplate = template
    while (panes.length > count) {
      const pane = panes.pop()
      pane.end.abort()
      pane.viewport?.end()
      pane.place.remove()
    }
    while (panes.length < count) {
      const index = panes.length
      const place = h('div', { class: 'pane', onfocusin: () => activate(index), onpointerdown: () => activate(index) })
      panes.push({ place, viewport: null, series: '', end: new AbortController() })
      grid.append(place)
      if (index > 0) fill(place, h('p', { class: 'state' }, t('viewer.choose')))
    }
    activate(Math.min(active, panes.length - 1))
  }

  /** Shows three planes of the volume that the series is, or the series again. */
  async function togglePlanes() {
    if (planes) {
      const { series: uid } = panes[0]
      lay('1×1')
      return open(uid, 0)
    }
    const one = viewport()
    const [{ volumeOf }, { Planes }] = await Promise.all([import('../viewer/volume.js'), import('../viewer/mpr.js')])
    const volume = one && volumeOf(one.frames, store)
    if (!volume) return message(t('mpr.none'))
    const { about } = one
    const { series: uid } = current()
    films.stop()
    announce(t('mpr.loading', { done: 0, all: volume.count }))
    mpr.disabled = true
    const own = current()
    try {
      await volume.load((done) => viewport() === one && fill(one.note, t('mpr.loading', { done, all: volume.count })))
    } finally {
      mpr.disabled = false
      fill(one.note)
    }
    if (signal.aborted || viewport() !== one || own !== current()) return volume.end()
    arrange(3, THREE)
    const shown = panes.map((pane, index) => {
      pane.end.abort()
      pane.viewport?.end()
      pane.viewport = new Viewport(volume.source, changed)
      pane.series = uid
      pane.place.style.gridArea = 'abc'[index]
      usePointer(pane.viewport, () => tool)
      fill(pane.place, pane.viewport.element)
      return pane.viewport
    })
    planes = new Planes(volume, shown)
    for (const [index, plane] of Object.keys(volume.cuts).entries()) await shown[index].show(volume.cuts[plane], { ...about, title: t(`mpr.${plane}`) })
    mpr.setAttribute('aria-pressed', 'true')
    slab.hidden = false
    choose('cross')
    activate(0)
    shown[0].element.focus({ preventScroll: true })
  }

  function closePlanes() {
    if (!planes) return
    planes.end()
    planes = null
    for (const pane of panes) {
      pane.viewport?.end()
      pane.viewport = null
      pane.place.style.gridArea = ''
      fill(pane.place)
    }
    mpr.setAttribute('aria-pressed', 'false')
    slab.hidden = true
    slab.value = '0'
    if (tool === 'cross') choose('window')
  }

  function activate(index) {
    active = index
    for (const [at, pane] of panes.entries()) pane.place.classList.toggle('active', at === index && panes.length > 1)
    for (const button of strip.querySelectorAll('button')) button.setAttribute('aria-pressed', String(button.dataset.series === panes[index].series))
    if (viewport()) changed(viewport())
  }

  /** The frames of a series, read once. */
  function framesOfSeries(uid) {
    if (!cache.has(uid)) {
      const reading = metadata(path(study, uid), signal).then((sets) => {
        const frames = framesOf(sets)
        for (const frame of frames) Object.assign(frame, { study, series: uid })
        return frames
      })
      reading.catch(() => cache.delete(uid))
      cache.set(uid, reading)
    }
    return cache.get(uid)
  }

  async function open(uid, index = active) {
    if (planes) {
      lay('1×1')
      index = 0
    }
    const pane = panes[index]
    pane.series = uid
    pane.end.abort()
    pane.end = new AbortController()
    films.stop()
    activate(index)
    const { signal: mine } = pane.end
    const frames = await framesOfSeries(uid)
    if (mine.aborted) return
    const [first] = frames
    if (!first) return fill(pane.place, h('p', { class: 'state' }, t('study.gone')))
    const set = first.set
    const patient = text(set, '00100010') || t('unnamed')
    const about = { patient, id: text(set, '00100020'), born: date(text(set, '00100030')), sex: text(set, '00100040'), study: text(set, '00081030'), title: [text(set, '00200011'), text(set, '0008103E') || text(set, '00080060')].filter(Boolean).join(' · ') }
    fill(heading, t('viewer'), ': ', told(patient))
    document.title = `${cut(patient)} – Stowage`
    const kind = kindOf(first.attributes)
    pane.frame = first
    if (['gray', 'rgb', 'picture'].includes(kind)) {
      if (!pane.viewport) {
        pane.viewport = new Viewport(store, changed)
        usePointer(pane.viewport, () => tool)
        fill(pane.place, pane.viewport.element)
        pane.viewport.painter.warm()
      }
      if (panes.length === 1 || index === active) note(to('view', [study, uid]))
      await pane.viewport.show(frames.filter((frame) => ['gray', 'rgb', 'picture'].includes(kindOf(frame.set))), about)
      if (index === active && !document.querySelector('dialog[open]')) pane.viewport.element.focus({ preventScroll: true })
    } else {
      pane.viewport?.end()
      pane.viewport = null
      const documents = frames.filter((frame) => frame.frame === 1).map((frame) => documentOf(frame, kindOf(frame.set), mine))
      fill(pane.place, h('div', { class: 'documents' }, documents))
    }
  }

  /** The strip of series; small pictures come last, so that they take nothing from the first large one. */
  async function loadStrip(rows) {
    const places = rows.map((row) => {
      const uid = text(row, '0020000E')
      const title = [text(row, '00200011'), text(row, '0008103E')].filter(Boolean).join(' · ') || t('unnamed')
      const picture = h('span', { class: 'picture', 'aria-hidden': 'true' }, text(row, '00080060'))
      const n = number(row, '00201209') ?? 0
      const button = h('button', { type: 'button', 'data-series': uid, 'aria-pressed': String(panes[active].series === uid), onclick: () => open(uid).catch(failed) }, picture, h('span', null, told(title)), h('span', { class: 'muted' }, text(row, '00080060'), ' · ', t('images', { n })))
      return [uid, picture, h('li', null, button)]
    })
    fill(strip, places.map(([, , item]) => item))
    for (const [uid, picture] of places) {
      if (signal.aborted) return
      await thumbnail(path(study, uid), signal)
        .then((blob) => {
          const url = URL.createObjectURL(blob)
          urls.push(url)
          fill(picture, h('img', { src: url, alt: '' }))
        })
        .catch(() => {})
    }
  }

  async function begin() {
    lay('1×1')
    const rows = wanted ? null : await readSeries(study, signal)
    const uid = wanted ?? text(rows?.[0], '0020000E')
    if (!uid) throw new Error(t('study.gone'))
    await open(uid, 0)
    await loadStrip(rows ?? (await readSeries(study, signal)))
  }

  begin().catch((error) => {
    if (error.name === 'AbortError') return
    const place = panes[0]?.place ?? grid
    fill(place, h('p', { class: 'state', role: 'alert' }, error.message))
  })
  const endKeys = useKeys(t('viewer'), grid, viewerKeys({ viewport, link: linkOrNot, mpr: () => togglePlanes().catch(failed), snapshot: savePicture, tool: () => tool, choose, cine: () => films.toggle(), full: fullScreen, presets: () => offered(viewport()) }))
  return () => {
    endKeys()
    films.stop()
    leaving.abort()
    planes?.end()
    for (const pane of panes) {
      pane.end.abort()
      pane.viewport?.end()
    }
    store.end()
    for (const url of urls) URL.revokeObjectURL(url)
  }
}
