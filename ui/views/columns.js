/** Columns of the list of studies: what each shows, and which of them somebody wants. */

import { fill, h, told } from '../lib/h.js'
import { t } from '../lib/i18n.js'
import { date, time } from '../lib/format.js'
import { dialog } from '../lib/dialog.js'
import { pref, setPref } from '../lib/prefs.js'
import { text, values } from '../dicom/json.js'

/** @typedef {{ name: string, cell: (set: object) => unknown, extra?: boolean, kind?: string }} Column */

/** All of them; the name always comes first, and those that are `extra` are shown when they are asked for. @type {Column[]} */
const ALL = [
  { name: 'PatientName', cell: (set) => told(text(set, '00100010') || t('unnamed')) },
  { name: 'PatientID', kind: 'wide', cell: (set) => told(text(set, '00100020')) },
  { name: 'PatientBirthDate', extra: true, cell: (set) => date(text(set, '00100030')) },
  { name: 'PatientSex', extra: true, cell: (set) => told(text(set, '00100040')) },
  { name: 'StudyDate', cell: (set) => [date(text(set, '00080020')), ' ', h('span', { class: 'muted' }, time(text(set, '00080030')))] },
  { name: 'ModalitiesInStudy', cell: (set) => values(set, '00080061').map((name) => h('span', { class: 'chip' }, name)) },
  { name: 'StudyDescription', kind: 'wide', cell: (set) => told(text(set, '00081030')) },
  { name: 'AccessionNumber', kind: 'wide', cell: (set) => told(text(set, '00080050')) },
  { name: 'ReferringPhysicianName', extra: true, kind: 'wide', cell: (set) => told(text(set, '00080090')) },
  { name: 'StudyInstanceUID', extra: true, kind: 'wide', cell: (set) => text(set, '0020000D') },
  { name: 'size', kind: 'number', cell: (set) => t('studies.size', { series: Number(text(set, '00201206')) || 0, n: Number(text(set, '00201208')) || 0 }) },
]

/** The columns that are shown. @returns {Column[]} */
export function chosenColumns() {
  const kept = pref('columns')?.split(',')
  return ALL.filter((column, index) => index === 0 || (kept ? kept.includes(column.name) : !column.extra))
}

/** Lets somebody choose; the promise ends when the dialog does. */
export function chooseColumns(changed) {
  const chosen = new Set(chosenColumns().map((column) => column.name))
  const keep = () => {
    setPref('columns', ALL.filter((column) => chosen.has(column.name)).map((column) => column.name).join(','))
    changed()
  }
  const box = ({ name }) => {
    const input = h('input', {
      type: 'checkbox',
      id: `column-${name}`,
      checked: chosen.has(name),
      onchange: () => {
        if (input.checked) chosen.add(name)
        else chosen.delete(name)
        keep()
      },
    })
    return h('li', null, h('label', { class: 'check', for: `column-${name}` }, input, t(`field.${name}`)))
  }
  return dialog(t('columns'), (close) => {
    const list = h('ul', { class: 'plain' })
    const draw = () => fill(list, ALL.slice(1).map(box))
    const usual = () => {
      setPref('columns', null)
      chosen.clear()
      for (const column of chosenColumns()) chosen.add(column.name)
      changed()
      draw()
    }
    draw()
    return h('div', null, list, h('div', { class: 'actions' }, h('button', { type: 'button', class: 'primary', onclick: () => close(true) }, t('close')), h('button', { type: 'button', onclick: usual }, t('columns.usual'))))
  })
}
