import { runService } from './cli/runService.ts'

process.exitCode = await runService(process.env, {})
