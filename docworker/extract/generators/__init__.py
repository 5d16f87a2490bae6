"""A profile per generator, in the order in which a page is tried; `GENERIC` reads what none of them knows."""

from docworker.extract.generators.asciidoc import PROFILE as ASCIIDOC
from docworker.extract.generators.asciidoctor import PROFILE as ASCIIDOCTOR
from docworker.extract.generators.docbook import PROFILE as DOCBOOK
from docworker.extract.generators.docusaurus import PROFILE as DOCUSAURUS
from docworker.extract.generators.doxygen import PROFILE as DOXYGEN
from docworker.extract.generators.generic import PROFILE as GENERIC
from docworker.extract.generators.gidocgen import PROFILE as GIDOCGEN
from docworker.extract.generators.javadoc import PROFILE as JAVADOC
from docworker.extract.generators.material import PROFILE as MATERIAL
from docworker.extract.generators.mdbook import PROFILE as MDBOOK
from docworker.extract.generators.mkdocs import PROFILE as MKDOCS
from docworker.extract.generators.nodejs import PROFILE as NODEJS
from docworker.extract.generators.rustdoc import PROFILE as RUSTDOC
from docworker.extract.generators.sphinx import PROFILE as SPHINX
from docworker.extract.generators.sqlite import PROFILE as SQLITE
from docworker.extract.generators.texinfo import PROFILE as TEXINFO
from docworker.extract.generators.vitepress import PROFILE as VITEPRESS
from docworker.extract.profile import Profile

PROFILES: tuple[Profile, ...] = (
    JAVADOC,
    RUSTDOC,
    SPHINX,
    MATERIAL,
    MKDOCS,
    VITEPRESS,
    DOCUSAURUS,
    DOCBOOK,
    TEXINFO,
    ASCIIDOC,
    ASCIIDOCTOR,
    DOXYGEN,
    GIDOCGEN,
    MDBOOK,
    NODEJS,
    SQLITE,
)

__all__ = ["GENERIC", "PROFILES"]
