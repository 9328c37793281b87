/** Starts the page: texts, who asks, the frame around the screens, and the screen of the address. */

import { fill, h, icon } from './lib/h.js'
import { LANGUAGES, language, loadTexts, t } from './lib/i18n.js'
import { applyTheme, pref, setPref } from './lib/prefs.js'
import { current, go, note, to } from './lib/router.js'
import { announce, failed, mountMessages } from './lib/dialog.js'
import { showKeys, useKeys } from './lib/keys.js'
import { askJson, hasToken, me, openIn, signInNeeded, useToken } from './net/api.js'
import { uploadState } from './net/upload_state.js'

/** Screens by their first word; each is loaded when it is first shown. */
const SCREENS = {
  studies: () => import('./views/studies.js'),
  study: () => import('./views/study.js'),
  view: () => import('./views/viewer.js'),
  tags: () => import('./views/tags.js'),
  upload: () => import('./views/upload.js'),
  admin: () => import('./views/admin.js'),
}

const screen = h('main', { id: 'screen', tabindex: '-1' })
let leave = null
let shown = 0
let config = null
let visited = false

async function start() {
  applyTheme()
  // What the address asks for comes over a slow link while the server says who is there.
  SCREENS[current().name]?.().catch(() => {})
  ;[config] = await Promise.all([askJson('ui/config', { quiet: true }), loadTexts()])
  openIn.set(config.openIn ?? [])
  mountMessages()
  frame()
  signInNeeded.follow((times) => times > 0 && signIn())
  await enter()
  addEventListener('hashchange', show)
}

/** Asks who we are; without an answer people are asked to sign in. */
async function enter() {
  try {
    if (await followLink()) return
    if (config.signIn.kind === 'oidc' && !hasToken()) {
      const { comeBack } = await import('./net/oidc.js')
      await comeBack(config.signIn)
    }
    if (config.signIn.kind !== 'none' && !hasToken()) return await signIn()
    me.set(await askJson('ui/me', { quiet: true }))
    await show()
  } catch (error) {
    if (error.status === 401) return signIn(error)
    failed(error)
    if (config.signIn.kind !== 'none') await signIn()
  }
}

/** A share link leads straight to its study, whoever else is signed in. */
async function followLink() {
  const { name, rest } = current()
  if (name !== 'shared' || !rest[0]) return false
  const { openLink } = await import('./net/links.js')
  try {
    const opened = await openLink(rest[0])
    me.set(await askJson('ui/me', { quiet: true }))
    note(to('study', [opened.study], { partition: opened.partition }))
    await show()
  } catch (error) {
    shown += 1
    leave?.()
    leave = null
    fill(screen, h('h1', null, t('share.followed')), h('p', { class: 'state', role: 'alert' }, error.body?.detail ?? error.message))
  }
  return true
}

async function signIn(error = null) {
  me.set(null)
  useToken(null)
  const number = (shown += 1)
  const { signInScreen } = await import('./views/signin.js')
  if (number !== shown) return
  leave?.()
  leave = null
  fill(screen, signInScreen(config, error, enter))
}

async function show() {
  const number = (shown += 1)
  const route = current()
  if (route.name === 'shared' && route.rest.length) return enter()
  const screenOf = SCREENS[route.name]
  if (!screenOf) return go(to('studies'), true)
  if (!me.get()) return enter()
  try {
    if (config.partition) {
      const { choosePartition } = await import('./views/partition.js')
      if (await choosePartition(route, config.partition)) return
    }
    const view = await screenOf()
    if (number !== shown) return
    leave?.()
    document.body.dataset.screen = route.name
    for (const link of document.querySelectorAll('a[data-screen]')) link.href = to(link.dataset.screen)
    for (const link of document.querySelectorAll('nav a[data-screen]')) {
      if (link.dataset.screen === route.name) link.setAttribute('aria-current', 'page')
      else link.removeAttribute('aria-current')
    }
    screen.replaceChildren()
    leave = view.show(screen, route) ?? null
    const heading = screen.querySelector('h1')
    document.title = `${heading?.dataset.title ?? heading?.textContent ?? ''} – Stowage`
    announce(heading?.textContent ?? '')
    // What was focused went with the screen before; on the first screen the order of the page holds.
    if (visited && document.activeElement === document.body) screen.focus({ preventScroll: true })
    visited = true
    if (route.name !== 'studies') scrollTo(0, 0)
    // Who looks at a study will look at its images.
    if (route.name === 'study') (globalThis.requestIdleCallback ?? setTimeout)(() => SCREENS.view().catch(() => {}))
  } catch (error) {
    if (error instanceof TypeError && /import|module/i.test(error.message)) {
      failed(new Error(t('error.version')))
    } else failed(error)
  }
}

function frame() {
  const place = h('span')
  if (config.partition) import('./views/partition.js').then(({ partitionMenu }) => place.append(partitionMenu()), failed)
  const link = (name, picture) => h('a', { href: to(name), 'data-screen': name }, icon(picture), h('span', null, t(`nav.${name}`)))
  const bar = h(
    'header',
    { class: 'bar' },
    h('a', { class: 'skip', href: '#screen', onclick: skip }, t('skip')),
    h('a', { class: 'brand', href: to('studies'), 'data-screen': 'studies' }, 'Stowage'),
    place,
    h('nav', { 'aria-label': t('nav') }, link('studies', 'list'), link('upload', 'upload'), link('admin', 'gear')),
    h('span', { class: 'fill' }),
    uploadsTold(),
    h('button', { type: 'button', class: 'quiet', 'aria-label': t('keys'), title: `${t('keys')} (?)`, onclick: showKeys }, icon('help')),
    settings(),
    who(),
  )
  document.body.append(bar, screen)
  useKeys(t('keys.everywhere'), document.body, [
    { keys: ['?'], text: t('keys'), run: showKeys },
  ])
  me.follow((caller) => {
    document.body.classList.toggle('signed-out', !caller)
    const may = (action) => caller?.actions.includes(action) ?? false
    bar.querySelector('[data-screen=upload]').hidden = !may('write')
    bar.querySelector('[data-screen=admin]').hidden = !may('read') || (caller?.limited ?? true)
  })
}

function skip(event) {
  event.preventDefault()
  screen.focus()
}

/** What is being sent, on every screen. */
function uploadsTold() {
  const told = h('a', { href: to('upload'), class: 'sending', hidden: true })
  uploadState.follow((state) => {
    told.hidden = !state.running
    if (state.running) fill(told, t('upload.running', { percent: state.total ? Math.floor((100 * state.sent) / state.total) : 0 }))
  })
  return told
}

function settings() {
  const choose = (name, choices, chosen, changed) =>
    h(
      'label',
      null,
      h('span', { class: 'hidden' }, t(name)),
      h('select', { onchange: (event) => changed(event.target.value) }, choices.map(([value, text]) => h('option', { value, selected: value === chosen }, text))),
    )
  return [
    choose('language', Object.entries(LANGUAGES), language(), (value) => {
      setPref('language', value)
      // Texts are read once; what is being sent would be lost, which the browser asks about.
      location.reload()
    }),
    choose(
      'theme',
      ['system', 'light', 'dark'].map((name) => [name, t(`theme.${name}`)]),
      pref('theme') ?? 'system',
      (value) => {
        setPref('theme', value === 'system' ? null : value)
        applyTheme()
      },
    ),
  ]
}

function who() {
  const place = h('span', { class: 'who' })
  me.follow((caller) => {
    place.replaceChildren()
    if (!caller?.subject) return
    const out = async () => {
      if (config.signIn.kind === 'oidc') (await import('./net/oidc.js')).leave(config.signIn)
      await signIn()
    }
    place.append(h('bdi', null, caller.subject), h('button', { type: 'button', class: 'quiet', onclick: out }, t('signout')))
  })
  return place
}

start().catch((error) => {
  document.body.append(h('main', null, h('h1', null, 'Stowage'), h('p', { role: 'alert' }, String(error?.message ?? error))))
})
