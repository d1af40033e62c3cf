// Bundles TypeScript entry points for node (which runs none) into a directory that is gone afterwards.
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { build } from "esbuild";

/** Runs `node ...flags <bundled entry points> ...args` and returns its exit code. */
export async function bundleAndRun(entryPoints, flags, args) {
  const outdir = mkdtempSync("node_modules/.run-");
  try {
    const { metafile } = await build({
      entryPoints,
      bundle: true,
      packages: "external",
      platform: "node",
      format: "esm",
      target: "node20",
      sourcemap: "inline",
      metafile: true,
      outdir,
      outExtension: { ".js": ".mjs" },
      logLevel: "warning",
    });
    const files = Object.keys(metafile.outputs).filter((name) => name.endsWith(".mjs"));
    const run = ["--enable-source-maps", ...flags, ...files, ...args];
    return spawnSync(process.execPath, run, { stdio: "inherit" }).status ?? 1;
  } finally {
    rmSync(outdir, { recursive: true });
  }
}
