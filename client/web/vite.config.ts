import { defineConfig } from "vite";

// `make web` builds into the server's package; `npm run dev` serves the sources beside a server on port 7601.
export default defineConfig({
  build: {
    outDir: "../../server/modelyard_server/web/dist",
    emptyOutDir: true,
    target: "es2022",
    modulePreload: false,
    cssCodeSplit: false,
    reportCompressedSize: true,
    rollupOptions: {
      output: {
        entryFileNames: "app.js",
        assetFileNames: "app[extname]",
        codeSplitting: false,
      },
    },
  },
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  server: { proxy: { "/modelyard.v1.": "http://127.0.0.1:7601", "/session": "http://127.0.0.1:7601", "/files": "http://127.0.0.1:7601" } },
});
