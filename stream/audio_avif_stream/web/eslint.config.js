import js from "@eslint/js";
import tseslint from "typescript-eslint";

/** Of node, what the scripts and tests use. */
const NODE = ["Buffer", "TextEncoder", "URL", "clearTimeout", "console", "performance", "process", "setImmediate", "setTimeout"];

export default tseslint.config(
  { ignores: ["dist/", "test/built.js"] },
  js.configs.recommended,
  ...tseslint.configs.strictTypeChecked,
  {
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      "@typescript-eslint/no-non-null-assertion": "off", // indices that a loop bounds
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true }],
      "@typescript-eslint/no-confusing-void-expression": ["error", { ignoreArrowShorthand: true }],
    },
  },
  {
    files: ["**/*.js", "**/*.mjs"],
    extends: [tseslint.configs.disableTypeChecked],
    languageOptions: { globals: Object.fromEntries(NODE.map((name) => [name, "readonly"])) },
  },
);
