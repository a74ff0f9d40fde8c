/** Puts the page on the screen. */
import { render } from "preact"
import { Page } from "./Page.tsx"

const place = document.getElementById("page")
if (place !== null) render(<Page />, place)
