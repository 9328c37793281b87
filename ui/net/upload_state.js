/** How far what is being stored is, on all screens; `uploads.js`, which stores, is loaded where files are chosen. */

import { signal } from '../lib/signal.js'

/** What `uploads.js` makes of it; nothing runs until then. */
export const uploadState = signal({ running: false })
