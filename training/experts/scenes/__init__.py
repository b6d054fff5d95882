"""Made-up scenes with exact ground truth: pictures, class maps, depth, surface normals, boxes and captions.

Drawn by a small vectorised ray caster of our own. Renderers were weighed: rasterisers (pyrender, moderngl) want OpenGL
libraries of the system, which a headless container lacks; path tracers (mitsuba) compile each new scene and leave noise
that only many samples per pixel remove; embree through trimesh is fast but meets triangles, so that the normals of a
ball would be those of a mesh, and materials and lights would be ours to write all the same. Rays against a few dozen
spheres, frusta, rings and convex solids have closed forms, exact labels, and need nothing but numpy.
"""

from training.experts.scenes.captions import Seen
from training.experts.scenes.layout import Backdrop
from training.experts.scenes.scene import Scene, SceneError, make_scene
from training.experts.scenes.things import CLASSES

__all__ = ["CLASSES", "Backdrop", "Scene", "SceneError", "Seen", "make_scene"]
