/**
 * Draws on the graphics card: samples in integer textures, rescale and window in the shader.
 *
 * Integer textures cannot be interpolated by the card: the shader reads four samples and mixes them before the window.
 */

import { inverse } from './place.js'

const VERTEX = `#version 300 es
void main() { gl_Position = vec4(vec2(gl_VertexID == 1 ? 3 : -1, gl_VertexID == 2 ? 3 : -1), 0, 1); }`

const fragment = (sampler, colour) => `#version 300 es
precision highp float; precision highp int; precision highp ${sampler};
uniform ${sampler} image; uniform ivec2 size; uniform mat3 back; uniform float height;
uniform vec2 scale; uniform vec2 win; uniform int shape; uniform bool inverted; uniform bool smoothed;
uniform bool padded; uniform vec2 pad; uniform highp usampler2D lut; uniform ivec2 entries; uniform float top;
out vec4 colour;
vec4 at(ivec2 p) { return vec4(texelFetch(image, clamp(p, ivec2(0), size - 1), 0)); }
float shaded(float x) {
  float c = win.x; float w = win.y;
  if (shape == 3) { int i = clamp(int(floor(x + 0.5)) - entries.x, 0, entries.y - 1); return float(texelFetch(lut, ivec2(i & 255, i >> 8), 0).r) / top; }
  if (shape == 2) return 1.0 / (1.0 + exp(-4.0 * (x - c) / w));
  if (shape == 1) return clamp((x - c) / w + 0.5, 0.0, 1.0);
  if (w <= 1.0) return x > c - 0.5 ? 1.0 : 0.0;
  return clamp((x - (c - 0.5)) / (w - 1.0) + 0.5, 0.0, 1.0);
}
void main() {
  vec2 p = (back * vec3(gl_FragCoord.x, height - gl_FragCoord.y, 1.0)).xy;
  if (any(lessThan(p, vec2(0))) || any(greaterThanEqual(p, vec2(size)))) { colour = vec4(0, 0, 0, 1); return; }
  if (padded) { float s = at(ivec2(floor(p))).r; if (s >= pad.x && s <= pad.y) { colour = vec4(0, 0, 0, 1); return; } }
  vec4 v;
  if (smoothed) {
    vec2 q = p - 0.5; ivec2 o = ivec2(floor(q)); vec2 f = q - floor(q);
    v = mix(mix(at(o), at(o + ivec2(1, 0)), f.x), mix(at(o + ivec2(0, 1)), at(o + ivec2(1, 1)), f.x), f.y);
  } else v = at(ivec2(floor(p)));
  vec3 rgb = ${colour};
  colour = vec4(inverted ? 1.0 - rgb : rgb, 1);
}`

const GRAY = 'vec3(shaded(v.r * scale.x + scale.y))'
const SHAPES = { LINEAR: 0, LINEAR_EXACT: 1, SIGMOID: 2, LUT: 3 }

/** What stands for a table where there is none. */
const NO_TABLE = new Uint16Array(1)

/** Painters that nobody uses: a context costs time to make and to lose, so it is used again. */
const spare = []
/** Painters kept at most. */
const SPARE = 4

/** A painter with a canvas of its own, or `null` where there is no WebGL 2. */
export function takePainter() {
  return spare.pop() ?? makePainter(document.createElement('canvas'))
}

function makePainter(canvas) {
  const gl = canvas.getContext('webgl2', { alpha: false, antialias: false, depth: false, powerPreference: 'high-performance' })
  if (!gl) return null
  const formats = new Map([
    [Int16Array, [gl.R16I, gl.RED_INTEGER, gl.SHORT, 'isampler2D', GRAY]],
    [Uint16Array, [gl.R16UI, gl.RED_INTEGER, gl.UNSIGNED_SHORT, 'usampler2D', GRAY]],
    [Int8Array, [gl.R8I, gl.RED_INTEGER, gl.BYTE, 'isampler2D', GRAY]],
    [Int32Array, [gl.R32I, gl.RED_INTEGER, gl.INT, 'isampler2D', GRAY]],
    [Uint32Array, [gl.R32UI, gl.RED_INTEGER, gl.UNSIGNED_INT, 'usampler2D', GRAY]],
    [Float32Array, [gl.R32F, gl.RED, gl.FLOAT, 'sampler2D', GRAY]],
    [Uint8Array, [gl.R8UI, gl.RED_INTEGER, gl.UNSIGNED_BYTE, 'usampler2D', GRAY]],
  ])
  const rgb = [gl.RGB8UI, gl.RGB_INTEGER, gl.UNSIGNED_BYTE, 'usampler2D', 'v.rgb / 255.0']
  const picture = [gl.RGBA8, gl.RGBA, gl.UNSIGNED_BYTE, 'sampler2D', 'v.rgb']
  let programs = new Map()
  let texture = null
  let held = null
  let table = null
  let tabled = null
  let lost = false
  canvas.addEventListener('webglcontextlost', (event) => {
    event.preventDefault()
    lost = true
  })
  canvas.addEventListener('webglcontextrestored', () => {
    ;[programs, texture, held, table, tabled, lost] = [new Map(), null, null, null, null, false]
    self.onrestored?.()
  })

  const formatOf = (image) => (image.bitmap ? picture : image.kind === 'rgb' ? rgb : formats.get(image.data.constructor))

  function program(sampler, colour) {
    const key = sampler + colour
    if (!programs.has(key)) {
      const made = gl.createProgram()
      for (const [type, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, fragment(sampler, colour)]]) {
        const shader = gl.createShader(type)
        gl.shaderSource(shader, source)
        gl.compileShader(shader)
        gl.attachShader(made, shader)
      }
      gl.linkProgram(made)
      if (!gl.getProgramParameter(made, gl.LINK_STATUS) && !gl.isContextLost()) throw new Error(gl.getProgramInfoLog(made) ?? 'shader')
      const names = ['size', 'back', 'height', 'scale', 'win', 'shape', 'inverted', 'smoothed', 'padded', 'pad', 'lut', 'entries', 'top', 'image']
      programs.set(key, { made, place: Object.fromEntries(names.map((name) => [name, gl.getUniformLocation(made, name)])) })
    }
    return programs.get(key)
  }

  /** The table of a window, in rows of 256; one of a single entry where there is none. */
  function uploadTable(lut) {
    const wanted = lut?.data ?? NO_TABLE
    if (tabled === wanted) return
    gl.activeTexture(gl.TEXTURE1)
    gl.deleteTexture(table)
    table = texture2d()
    const rows = Math.ceil(wanted.length / 256)
    const whole = new Uint16Array(rows * 256)
    whole.set(wanted)
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.R16UI, 256, rows, 0, gl.RED_INTEGER, gl.UNSIGNED_SHORT, whole)
    gl.activeTexture(gl.TEXTURE0)
    tabled = wanted
  }

  function texture2d() {
    const made = gl.createTexture()
    gl.bindTexture(gl.TEXTURE_2D, made)
    for (const [name, value] of [[gl.TEXTURE_MIN_FILTER, gl.NEAREST], [gl.TEXTURE_MAG_FILTER, gl.NEAREST], [gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE], [gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE]]) gl.texParameteri(gl.TEXTURE_2D, name, value)
    return made
  }

  function upload(image, [inner, outer, type]) {
    if (held === image) return
    gl.deleteTexture(texture)
    texture = texture2d()
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1)
    gl.pixelStorei(gl.UNPACK_COLORSPACE_CONVERSION_WEBGL, gl.NONE)
    if (image.bitmap) gl.texImage2D(gl.TEXTURE_2D, 0, inner, outer, type, image.bitmap)
    else gl.texImage2D(gl.TEXTURE_2D, 0, inner, image.columns, image.rows, 0, outer, type, image.data)
    held = image
  }

  const self = {
    name: 'WebGL 2',
    canvas,
    /** Called when everything must be drawn anew. */
    onrestored: null,
    /** Whether a program stands in for the card, for which four samples a pixel are many. */
    isSlow: /swiftshader|llvmpipe|software/i.test(String(gl.getParameter(gl.getExtension('WEBGL_debug_renderer_info')?.UNMASKED_RENDERER_WEBGL ?? gl.RENDERER))),
    /** Largest edge of an image. */
    largest: gl.getParameter(gl.MAX_TEXTURE_SIZE),
    /** Begins what takes long, while the image is on its way. */
    warm: () => program('isampler2D', GRAY),
    draw(image, way, look) {
      if (lost || gl.isContextLost()) return
      const format = formatOf(image)
      const { made, place } = program(format[3], format[4])
      gl.viewport(0, 0, canvas.width, canvas.height)
      gl.activeTexture(gl.TEXTURE0)
      upload(image, format)
      const { lut } = look.window
      uploadTable(lut)
      gl.useProgram(made)
      const [a, b, c, d, e, f] = inverse(way)
      gl.uniform2i(place.size, image.columns, image.rows)
      gl.uniformMatrix3fv(place.back, false, [a, b, 0, c, d, 0, e, f, 1])
      gl.uniform1f(place.height, canvas.height)
      gl.uniform2f(place.scale, look.slope, look.intercept)
      gl.uniform2f(place.win, look.window.center, look.window.width)
      gl.uniform1i(place.shape, SHAPES[look.window.shape] ?? 0)
      gl.uniform1i(place.inverted, look.inverted ? 1 : 0)
      gl.uniform1i(place.smoothed, look.smoothed ? 1 : 0)
      gl.uniform1i(place.padded, look.padding ? 1 : 0)
      gl.uniform2f(place.pad, ...(look.padding ?? [0, 0]))
      gl.uniform1i(place.image, 0)
      gl.uniform1i(place.lut, 1)
      gl.uniform2i(place.entries, lut?.first ?? 0, lut?.data.length ?? 1)
      gl.uniform1f(place.top, lut?.top ?? 1)
      gl.drawArrays(gl.TRIANGLES, 0, 3)
    },
    /** What was drawn in this task, RGBA from the top. */
    read() {
      const { width, height } = canvas
      const flipped = new Uint8Array(width * height * 4)
      gl.readPixels(0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, flipped)
      const pixels = new Uint8Array(flipped.length)
      for (let row = 0; row < height; row += 1) pixels.set(flipped.subarray(row * width * 4, (row + 1) * width * 4), (height - 1 - row) * width * 4)
      return pixels
    },
    /** Gives the canvas back; nothing of the image stays in it. */
    end() {
      gl.deleteTexture(texture)
      ;[texture, held, self.onrestored] = [null, null, null]
      canvas.remove()
      canvas.width = 1
      canvas.height = 1
      if (!lost && spare.length < SPARE) spare.push(self)
    },
  }
  return self
}
