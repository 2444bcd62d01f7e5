import { type CommandResult, runShell, type ServicePlace } from './serviceProcess.ts'

/** What a step expects of its command; anything else ends the tour. */
export interface Expected {
  /** The exit code, 0 if absent. */
  readonly code?: number
  /** What stdout or stderr must say. */
  readonly says?: RegExp
  /** The fields of the answer to show, the first of each name; all lines if absent, none if empty. */
  readonly show?: readonly string[]
}

/** Leads a reader through the product: says what happens, runs the real command line, shows the answer. */
export interface Guide {
  /** Begins a chapter. */
  chapter(title: string, ...text: readonly string[]): void
  /** Runs a command line and gives its output; throws {@link Surprise} where it is not as expected. */
  run(line: string, expected?: Expected): Promise<string>
  /** Runs a command line, unseen, until it is as expected. */
  waitFor(line: string, expected: Expected): Promise<void>
  /** Says what the tour did or found itself. */
  note(text: string): void
  /** Throws {@link Surprise} unless the condition holds. */
  check(condition: boolean, why: string): void
}

/** Something was not as the tour says. */
export class Surprise extends Error {
  override readonly name = 'Surprise'
}

const WAIT_DEADLINE_MS = 30_000

/** Prints by `print`; commands run in `cwd` against the service at `place`. */
export const createGuide = (place: ServicePlace, cwd: string, print: (line: string) => void): Guide => {
  let chapters = 0
  const ask = (line: string): Promise<CommandResult> => runShell(place, cwd, line)
  return {
    chapter(title, ...text) {
      chapters++
      print(`\n${chapters}. ${title}`)
      for (const line of text) print(`   ${line}`)
    },
    async run(line, expected = {}) {
      print(`\n   $ ${shorten(line)}`)
      const result = await ask(line)
      for (const shown of toShown(result, expected.show)) print(`     ${shown}`)
      const surprise = findSurprise(result, expected)
      if (surprise !== undefined) throw new Surprise(`${surprise}\n${line}\n${result.stdout}${result.stderr}`)
      return result.stdout
    },
    async waitFor(line, expected) {
      const deadline = Date.now() + WAIT_DEADLINE_MS
      for (;;) {
        const surprise = findSurprise(await ask(line), expected)
        if (surprise === undefined) return
        if (Date.now() > deadline) throw new Surprise(`${surprise}, for ${WAIT_DEADLINE_MS / 1000} s\n${line}`)
      }
    },
    note: (text) => print(`     ${text}`),
    check(condition, why) {
      if (!condition) throw new Surprise(why)
    },
  }
}

/** The value of a field in an answer as people read it: `key_id: lid_…`. */
export const readField = (answer: string, field: string): string => {
  const value = new RegExp(`^ *${field}: (.+)$`, 'm').exec(answer)?.[1]
  if (value === undefined) throw new Surprise(`the answer has no ${field}:\n${answer}`)
  return value
}

const findSurprise = ({ code, stdout, stderr }: CommandResult, { code: wanted = 0, says }: Expected) => {
  if (code !== wanted) return `the exit code is ${code}, not ${wanted}`
  if (says !== undefined && !says.test(stdout + stderr)) return `the answer does not say ${says}`
  return undefined
}

const toShown = ({ stdout, stderr }: CommandResult, show: readonly string[] | undefined): readonly string[] => {
  const lines = (stdout + stderr).split('\n').map((line) => line.trimStart())
  const fields = show?.map((field) => lines.find((line) => line.startsWith(`${field}:`)) ?? '') ?? lines
  // What the command said of an error is always worth reading.
  const errors = show === undefined ? [] : lines.filter((line) => line.startsWith('chatelaine:'))
  return [...fields, ...errors].filter((line) => line !== '').map(shorten)
}

/** Long ids and hashes keep their beginnings. */
const shorten = (text: string): string => text.replace(/\b(lid_)?([0-9a-f]{8})[0-9a-f]{48,}\b/g, '$1$2…')
