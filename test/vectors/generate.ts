import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { toVectors } from './vectors.ts'

/** Writes the vectors next to this file. Usage: `npm run vectors`; a unit test says when they are stale. */
for (const [path, text] of toVectors()) {
  const file = join(import.meta.dirname, path)
  await mkdir(dirname(file), { recursive: true })
  await writeFile(file, text)
}
