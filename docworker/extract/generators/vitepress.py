"""VitePress."""

from docworker.extract.profile import Profile

PROFILE = Profile(
    name="vitepress",
    marks="meta[name=generator][content^=VitePress], .vp-doc",
    main=(".vp-doc", "main"),
    drop="[class*=language-] > span.lang, .line-numbers-wrapper, .VPDocFooter, .VPDocAsideOutline, .VPLocalNavOutlineDropdown",
)
