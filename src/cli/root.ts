import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { must } from '../core/result.ts'

/** The clone this code runs from: the nearest directory above `moduleUrl` with `nats.conf`, from sources and from `dist/`. */
export const findRoot = (moduleUrl: string): string => {
  let dir = dirname(fileURLToPath(moduleUrl))
  while (!(existsSync(join(dir, 'nats.conf')) && existsSync(join(dir, 'package.json')))) {
    const parent = dirname(dir)
    must(parent !== dir, 'no directory above this module has nats.conf: run from a whole clone')
    dir = parent
  }
  return dir
}
