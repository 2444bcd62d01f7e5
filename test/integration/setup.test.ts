import { spawnSync } from 'node:child_process'
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

const SCRIPT = fileURLToPath(new URL('../../scripts/setup.sh', import.meta.url))
const deadlineMs = 20_000

test.each(['node_modules', '.tools'])(
  'the set-up refuses %s that is a symbolic link, and leaves what it points to',
  async (folder) => {
    const dir = await mkdtemp(join(tmpdir(), 'chatelaine-setup-'))
    try {
      const root = join(dir, 'clone')
      const shared = join(dir, 'shared')
      await mkdir(join(root, 'scripts'), { recursive: true })
      await mkdir(shared)
      await cp(SCRIPT, join(root, 'scripts', 'setup.sh'))
      await writeFile(join(shared, 'kept'), 'kept')
      await symlink(shared, join(root, folder))
      const { status, stderr } = spawnSync('sh', [join(root, 'scripts', 'setup.sh')], {
        encoding: 'utf8',
        timeout: deadlineMs,
      })
      expect([status, stderr]).toEqual([
        1,
        `setup: ${folder} is a symbolic link, and what it points to would be emptied: remove the link\n`,
      ])
      expect(await readFile(join(shared, 'kept'), 'utf8')).toBe('kept')
    } finally {
      await rm(dir, { recursive: true, force: true })
    }
  },
)
