import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { LIMITS } from '../../../schemas/limits.ts'
import { ok, type Result } from '../../core/result.ts'
import { fault, type OperatorFault } from '../config.ts'
import { type DevPaths, ensureSecret, exists, writeWhole } from './devFiles.ts'

const run = promisify(execFile)

/** Where Debian and Ubuntu put the library. */
const LIBRARIES = [
  '/usr/lib/softhsm/libsofthsm2.so',
  '/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so',
  '/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so',
]

/** The label of the dev profile's token. */
export const DEV_TOKEN_LABEL = 'chatelaine'

/**
 * Makes SoftHSM's configuration, and its token with a random PIN if there is none; gives the library's path. The token is
 * made aside and renamed into place, so a kill leaves none or a whole one. It is for trial: `softhsm2-util` takes the PIN
 * as an argument, which other users of the machine could see for a moment.
 */
export const ensureSoftHsmToken = async (paths: DevPaths): Promise<Result<string, OperatorFault>> => {
  const library = findSoftHsmLibrary()
  if (library === undefined) return fault('SoftHSM is missing: run npm run setup, or apt-get install softhsm2')
  await writeWhole(paths.softhsmConf, toSoftHsmConf(paths.softhsmTokens))
  if (await exists(paths.softhsmTokens)) {
    if (await exists(paths.softhsmPin)) return ok(library)
    return fault(`${paths.softhsmPin} is missing: without the PIN the token beside it cannot be used`)
  }
  const unfinished = `${paths.softhsmTokens}.new`
  await rm(unfinished, { recursive: true, force: true })
  await mkdir(unfinished, { mode: 0o700 })
  const conf = join(paths.softhsmDir, 'init.conf')
  await writeWhole(conf, toSoftHsmConf(unfinished))
  const pin = await ensureSecret(paths.softhsmPin)
  const soPin = randomBytes(16).toString('hex')
  const args = ['--init-token', '--free', '--label', DEV_TOKEN_LABEL, '--pin', pin, '--so-pin', soPin]
  try {
    await run('softhsm2-util', args, {
      env: { PATH: process.env['PATH'], SOFTHSM2_CONF: conf },
      timeout: LIMITS.devTokenInitMs,
    })
  } catch (error) {
    // Not the error's own message: it holds the command line, and so the PIN.
    return fault(`softhsm2-util could not make a token (${toExitWord(error)})`)
  }
  await rm(conf)
  await rename(unfinished, paths.softhsmTokens)
  return ok(library)
}

/** The SoftHSM library of this machine, if there is one. */
export const findSoftHsmLibrary = (): string | undefined => LIBRARIES.find((path) => existsSync(path))

const toSoftHsmConf = (tokenDir: string): string =>
  `directories.tokendir = ${tokenDir}\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n`

const toExitWord = (error: unknown): string =>
  error instanceof Error && 'code' in error ? `exit ${String(error.code)}` : 'unknown error'
