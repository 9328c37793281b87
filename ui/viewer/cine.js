/** Plays the frames of a viewport one after the other, round and round. */

/**
 * @param {() => import('./viewport.js').Viewport | null | undefined} viewport
 * @param {(running: boolean) => void} told
 */
export function cine(viewport, told) {
  let running = 0
  let rate = 15
  let last = 0

  const step = (now) => {
    running = requestAnimationFrame(step)
    const one = viewport()
    if (!one || one.frames.length < 2) return stop()
    if (now - last < 1000 / rate - 1) return
    const next = (one.index + 1) % one.frames.length
    // Waits for what is not here yet instead of skipping it.
    if (one.shown !== one.frame) return
    last = now
    one.goTo(next)
  }

  function stop() {
    if (!running) return
    cancelAnimationFrame(running)
    running = 0
    told(false)
  }

  return {
    series: '',
    stop,
    setRate(next) {
      rate = Math.min(60, Math.max(1, next))
    },
    toggle() {
      if (running) return stop()
      last = 0
      running = requestAnimationFrame(step)
      told(true)
    },
  }
}
