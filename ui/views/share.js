/** The dialog that shares a study: a link that reads it for a while, or its address for who may see it anyway. */

import { fill, h } from '../lib/h.js'
import { language, t } from '../lib/i18n.js'
import { copy, dialog, failed } from '../lib/dialog.js'
import { hasToken, me } from '../net/api.js'
import { makeLink, plainLink } from '../net/links.js'

const HOUR = 3600
/** Lives of a link that are offered, in seconds. */
const LIVES = [HOUR, 24 * HOUR, 7 * 24 * HOUR, 14 * 24 * HOUR, 30 * 24 * HOUR]

/** Opens the dialog for a study. */
export function share(study) {
  const most = me.get()?.linkSeconds ?? 0
  return dialog(t('share.title'), () => {
    const place = h('div', { 'aria-live': 'polite' })
    if (!most) return h('div', null, h('p', null, t(hasToken() ? 'share.plain' : 'share.open')), shown(plainLink(study)))
    const lives = [...new Set([...LIVES.filter((seconds) => seconds < most), most])]
    const chosen = lives.includes(24 * HOUR) ? 24 * HOUR : lives[0]
    const life = h('select', { id: 'share-life' }, lives.map((seconds) => h('option', { value: String(seconds), selected: seconds === chosen }, told(seconds))))
    const make = async (event) => {
      event.preventDefault()
      const button = event.submitter
      if (button) button.disabled = true
      try {
        const { link, expires } = await makeLink(study, Number(life.value))
        fill(place, shown(link), h('p', { class: 'muted' }, t('share.until', { time: expires.toLocaleString(language(), { dateStyle: 'medium', timeStyle: 'short' }) })))
        place.querySelector('input').select()
      } catch (error) {
        failed(error)
      }
      if (button) button.disabled = false
    }
    return h(
      'div',
      null,
      h('p', null, t('share.what')),
      h('form', { class: 'line', onsubmit: make }, h('label', { for: 'share-life' }, t('share.life')), life, h('button', { type: 'submit', class: 'primary' }, t('share.make'))),
      place,
    )
  })
}

/** A link to copy. */
function shown(link) {
  const field = h('input', { type: 'text', readonly: true, value: link, 'aria-label': t('share.link'), class: 'link' })
  return h('div', { class: 'line' }, field, h('button', { type: 'button', onclick: () => copy(link) }, t('share.copy')))
}

/** A number of seconds in words. */
function told(seconds) {
  const [count, unit] = seconds % (24 * HOUR) === 0 ? [seconds / (24 * HOUR), 'day'] : seconds % HOUR === 0 ? [seconds / HOUR, 'hour'] : [Math.floor(seconds / 60), 'minute']
  return count.toLocaleString(language(), { style: 'unit', unit, unitDisplay: 'long' })
}
