// The real server for the browser test: the binary on a port of its own choice, over an empty directory.

import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const READY_WITHIN_MS = 60_000;
const STOPS_WITHIN_MS = 15_000;

export interface Server {
  url: string;
  stop(): Promise<void>;
}

export async function startServer(binary: string): Promise<Server> {
  const dataDir = mkdtempSync(join(tmpdir(), "usher-browser-"));
  const args = ["serve", "--listen", "127.0.0.1:0", "--data-dir", dataDir, "--log-format", "json"];
  const child = spawn(binary, args, { stdio: ["ignore", "pipe", "pipe"] });
  const said: string[] = [];
  const exited = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  const stop = async () => {
    child.kill("SIGTERM");
    const late = setTimeout(() => child.kill("SIGKILL"), STOPS_WITHIN_MS);
    await exited;
    clearTimeout(late);
    rmSync(dataDir, { recursive: true, force: true });
  };
  try {
    return { url: await readyUrl(child, said), stop };
  } catch (error) {
    await stop();
    throw new Error(`${error}\n${said.join("")}`);
  }
}

/** Waits for the line that says where the server is. */
function readyUrl(child: ChildProcess, said: string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error("the server did not say that it is ready")), READY_WITHIN_MS);
    const hear = (chunk: Buffer) => {
      said.push(chunk.toString());
      const url = /"message":"ready".*"url":"([^"]+)\/"/.exec(said.join(""))?.[1];
      if (!url) return;
      clearTimeout(late);
      resolve(url);
    };
    child.stdout?.on("data", hear);
    child.stderr?.on("data", (chunk: Buffer) => said.push(chunk.toString()));
    child.once("exit", (code) => reject(new Error(`the server ended with ${code}`)));
    child.once("error", reject);
  });
}
