import { readFile } from 'node:fs/promises'

/** The arguments of a living process; undefined if there is none, or only its remains. */
export const readCommandLine = async (pid: number): Promise<readonly string[] | undefined> => {
  const text = await readProc(pid, 'cmdline')
  return text === undefined || text === '' ? undefined : text.replace(/\0$/, '').split('\0')
}

/** When a process started, in ticks since boot: with its id this names a process, since ids are used again. */
export const readStartTime = async (pid: number): Promise<string | undefined> => {
  const text = await readProc(pid, 'stat')
  // Field 22 of proc(5); the second is the name in brackets, which may itself hold spaces and brackets.
  return text?.slice(text.lastIndexOf(')') + 2).split(' ')[19]
}

const readProc = (pid: number, name: string): Promise<string | undefined> =>
  Number.isSafeInteger(pid) && pid > 0
    ? readFile(`/proc/${pid}/${name}`, 'utf8').catch(() => undefined)
    : Promise.resolve(undefined)
