import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import packageJson from '../package.json' with { type: 'json' }
import { toKebab } from '../schemas/contract.ts'
import { ENVIRONMENT } from '../src/cli/environment.ts'
import { toCliPage } from '../src/cli/page.ts'
import { toApiPage } from '../src/docs/api.ts'
import { toConfigurationPage } from '../src/docs/configuration.ts'
import { toErrorsPage } from '../src/docs/errors.ts'
import { toEventTypesText } from '../src/docs/eventTypes.ts'
import { toOperationSchemas } from '../src/docs/jsonSchema.ts'
import { toLimitsPage } from '../src/docs/limits.ts'
import { toOpenApiText } from '../src/docs/openapi.ts'

/** Every generated file that is committed, and what makes its text. One row a file. */
const GENERATED: readonly { readonly path: string; readonly produce: () => string }[] = [
  { path: 'docs/CONFIGURATION.md', produce: () => toConfigurationPage(ENVIRONMENT) },
  { path: 'docs/API.md', produce: toApiPage },
  { path: 'docs/CLI.md', produce: toCliPage },
  { path: 'docs/ERRORS.md', produce: toErrorsPage },
  { path: 'docs/LIMITS.md', produce: toLimitsPage },
  { path: 'schemas/json/events.json', produce: toEventTypesText },
  { path: 'schemas/json/openapi.json', produce: () => toOpenApiText(packageJson.version) },
  ...[...toOperationSchemas()].map(([name, text]) => ({
    path: `schemas/json/${toKebab(name)}.json`,
    produce: () => text,
  })),
]

const root = fileURLToPath(new URL('../', import.meta.url))

/** Writes the files, or with `--check` names those that are not what would be written, and fails. */
const main = async (): Promise<void> => {
  const checkOnly = process.argv.includes('--check')
  const stale: string[] = []
  for (const { path, produce } of GENERATED) {
    const text = produce()
    const file = join(root, path)
    const present = await readFile(file, 'utf8').catch(() => undefined)
    if (present === text) continue
    stale.push(path)
    if (checkOnly) continue
    await mkdir(dirname(file), { recursive: true })
    await writeFile(file, text)
  }
  if (stale.length === 0) return
  if (!checkOnly) {
    console.log(`written: ${stale.join(', ')}`)
    return
  }
  console.error(`not up to date: ${stale.join(', ')} (run: npm run generate)`)
  process.exitCode = 1
}

await main()
