/** Which data partition is looked at: it stands in the address, so that bookmarks and links name it. Loaded where there are any. */

import { fill, h } from '../lib/h.js'
import { t } from '../lib/i18n.js'
import { go, to } from '../lib/router.js'
import { askJson, partition, usePartition } from '../net/api.js'

const menu = h('select', { hidden: true, onchange: () => go(to('studies', [], { partition: menu.value })) })

/** Looks at the data partition of an address, or at `usual` where it names none; true when it leads to another address. */
export async function choosePartition({ query }, usual) {
  const asked = query.get('partition')
  const wanted = asked ?? usual
  if (wanted === partition) return false
  const listed = ((await askJson('v2/partitions', { quiet: true })) ?? []).map((one) => one.partitionName)
  // Who may not look at the usual one looks at one that is there for them.
  if (!asked && listed.length && !listed.includes(usual)) {
    go(to('studies', [], { partition: listed[0] }), true)
    return true
  }
  usePartition(wanted)
  fill(menu, [...new Set([...listed, wanted])].map((name) => h('option', { value: name, selected: name === wanted }, name)))
  menu.hidden = false
  return false
}

/** The menu of those that may be looked at. */
export function partitionMenu() {
  menu.setAttribute('aria-label', t('partition'))
  menu.title = t('partition')
  return menu
}
