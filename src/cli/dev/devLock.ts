import { open, readFile, rm } from 'node:fs/promises'
import { ok, type Result } from '../../core/result.ts'
import { fault, type OperatorFault } from '../config.ts'
import { readStartTime } from './procfs.ts'

/**
 * Takes the data directory for this process; gives the release. A lock whose process is gone, or whose id belongs to
 * another process by now (by its start time), is taken over.
 */
export const lockDataDir = async (lockFile: string): Promise<Result<() => Promise<void>, OperatorFault>> => {
  const own = `${process.pid} ${(await readStartTime(process.pid)) ?? ''}`
  for (let attempt = 0; attempt < 3; attempt += 1) {
    if (await createExclusive(lockFile, own)) {
      return ok(async () => {
        if ((await readText(lockFile)) === own) await rm(lockFile, { force: true })
      })
    }
    const holder = await readText(lockFile)
    const [pid = '', startTime = ''] = holder.split(' ')
    if (startTime !== '' && (await readStartTime(Number(pid))) === startTime) {
      return fault(`KMS_DATA_DIR: a service (process ${pid}) already runs on this directory`)
    }
    await rm(lockFile, { force: true })
  }
  return fault('KMS_DATA_DIR: another service is starting on this directory')
}

const createExclusive = async (file: string, text: string): Promise<boolean> => {
  try {
    const handle = await open(file, 'wx', 0o600)
    await handle.writeFile(text).finally(() => handle.close())
    return true
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST') return false
    throw error
  }
}

const readText = (file: string): Promise<string> => readFile(file, 'utf8').catch(() => '')
