/** Texts in the language of the reader; they stand in `locales/`, one file a language. */

import { pref } from './prefs.js'

/** Languages by their own names. */
export const LANGUAGES = { en: 'English', de: 'Deutsch', fr: 'Français', ja: '日本語', zh: '中文' }

let texts = {}
let plurals = new Intl.PluralRules('en')
let chosen = 'en'

/** The language in use. */
export const language = () => chosen

/** Reads the texts of the language that was chosen, else of the first of the browser's that is known. */
export async function loadTexts() {
  const wished = [pref('language'), ...navigator.languages].filter(Boolean).map((name) => name.slice(0, 2).toLowerCase())
  chosen = wished.find((name) => name in LANGUAGES) ?? 'en'
  const answer = await fetch(new URL(`../locales/${chosen}.json`, import.meta.url))
  if (!answer.ok) throw new Error(`texts: ${answer.status}`)
  texts = await answer.json()
  plurals = new Intl.PluralRules(chosen)
  document.documentElement.lang = chosen === 'zh' ? 'zh-Hans' : chosen
}

/**
 * The text of a key; `{name}` stands for a value, `key.one` and `key.other` for numbers (value `n`).
 * @param {string} key
 * @param {Object<string, string | number>} [values]
 */
export function t(key, values = {}) {
  const number = typeof values.n === 'number' ? texts[`${key}.${plurals.select(values.n)}`] ?? texts[`${key}.other`] : undefined
  const text = number ?? texts[key] ?? key
  return text.replace(/\{(\w+)\}/g, (whole, name) => {
    const value = values[name]
    return typeof value === 'number' ? value.toLocaleString(chosen) : String(value ?? whole)
  })
}
