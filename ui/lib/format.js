/** Dates, sizes and times in the reader's language. */

import { language } from './i18n.js'

/** `20261129` as a date; what is no date stays as it is. */
export function date(text) {
  const parts = /^(\d{4})\.?(\d{2})\.?(\d{2})$/.exec(text ?? '')
  if (!parts) return text ?? ''
  const value = new Date(Date.UTC(+parts[1], +parts[2] - 1, +parts[3]))
  return value.toLocaleDateString(language(), { dateStyle: 'medium', timeZone: 'UTC' })
}

/** `142233.5` as `14:22`. */
export function time(text) {
  const parts = /^(\d{2})(\d{2})/.exec(text ?? '')
  return parts ? `${parts[1]}:${parts[2]}` : ''
}

const UNITS = ['B', 'kB', 'MB', 'GB', 'TB', 'PB']

/** Bytes in the unit that leaves at most three digits. */
export function bytes(count) {
  let unit = 0
  let value = count
  while (value >= 1000 && unit < UNITS.length - 1) {
    value /= 1000
    unit += 1
  }
  const digits = unit === 0 || value >= 100 ? 0 : 1
  return `${value.toLocaleString(language(), { maximumFractionDigits: digits })} ${UNITS[unit]}`
}

/** Seconds as `1:05` or `2:03:00`. */
export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds))
  const two = (n) => String(n).padStart(2, '0')
  const hours = Math.floor(whole / 3600)
  const minutes = Math.floor(whole / 60) % 60
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`
}

/** A date as DICOM writes it. */
export function dicomDate(value) {
  const two = (n) => String(n).padStart(2, '0')
  return `${value.getFullYear()}${two(value.getMonth() + 1)}${two(value.getDate())}`
}
