/** What was just deleted is brought back by a button beside the message that says so, or by a key. */

import { t } from '../lib/i18n.js'
import { failed, message } from '../lib/dialog.js'
import { useKeys } from '../lib/keys.js'
import { me } from '../net/api.js'
import { lastDelete, restore } from '../net/trash.js'

/** Whether the caller may bring back what is deleted. */
export const mayRestore = () => me.get()?.actions.includes('restore') ?? false

/** What a dialog says before something is deleted. */
export function afterwards() {
  const seconds = me.get()?.restoreSeconds ?? 0
  return mayRestore() && seconds >= 3600 ? t('delete.undoable', { n: Math.floor(seconds / 3600) }) : t('delete.forever')
}

/** Tells what came back and what did not. */
export function tellRestored({ restored, alreadyStored, left, problems }) {
  if (restored + alreadyStored || !left) message(t('trash.restored', { n: restored + alreadyStored }))
  if (left) message(t('trash.left', { n: left }), 'error', problems[0]?.reason ?? '')
}

/** Forgets what could be undone before: it would no longer be the last thing that was done. */
let forget = null

/**
 * Says that instances of studies were deleted, and offers to undo that.
 * @param {() => void} changed called when they are back
 */
export function deleted(n, studies, changed) {
  forget?.()
  if (!mayRestore()) return message(t('delete.done', { n }))
  let off = null
  const run = async () => {
    off?.()
    const sum = { restored: 0, alreadyStored: 0, left: 0, problems: [] }
    try {
      for (const study of studies) {
        const entry = await lastDelete(study)
        const report = entry && (await restore(entry.id))
        for (const name of ['restored', 'alreadyStored', 'left']) sum[name] += report?.[name] ?? 0
        sum.problems.push(...(report?.problems ?? []))
      }
      tellRestored(sum)
    } catch (error) {
      failed(error)
    }
    changed()
  }
  const put = message(t('delete.done', { n }), 'info', '', { text: t('undo'), run, ended: () => off?.() })
  off = useKeys(t('undo'), document.body, [{ keys: ['Ctrl+z', 'Meta+z'], text: t('undo.last'), run: () => (put(), run()) }])
  forget = put
}
