/** What this person likes, kept in the browser: language, theme and columns, nothing of a study and no token. */

const KNOWN = ['language', 'theme', 'columns']

export function pref(name) {
  try {
    return localStorage.getItem(`stowage.${name}`)
  } catch {
    return null
  }
}

export function setPref(name, value) {
  if (!KNOWN.includes(name)) throw new Error(`no preference ${name}`)
  try {
    if (value) localStorage.setItem(`stowage.${name}`, value)
    else localStorage.removeItem(`stowage.${name}`)
  } catch {
    // A browser that keeps nothing keeps no preferences.
  }
}

/** Light, dark, or as the system has it. */
export function applyTheme() {
  const theme = pref('theme')
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme
  else delete document.documentElement.dataset.theme
}
