"""The temperature a backbone is exported with."""

from training.data.sources import DataDirs, available_sources, read_rows
from training.data.splits import Split
from training.evaluate.embedder import Embedder
from training.evaluate.tasks import labelled_tasks
from training.evaluate.zero_shot import temperature_on
from training.export.backbone import Backbone, BackboneGraphs, TemperatureFitter
from training.export.errors import ExportError
from training.export.graph import open_session


def temperature_fitter(data_dir: DataDirs) -> TemperatureFitter:
    """A function that fits a backbone's temperature, as it will be served, on the `fit` split of `data_dir`.

    Raises `ExportError` if that split has no labelled row of a source that is not reserved.
    """
    tasks = labelled_tasks(read_rows(data_dir, available_sources(data_dir)), Split.FIT)
    if all(task.novelty == "unseen source" for task in tasks):
        raise ExportError("There is no labelled row of a source that is not reserved: nothing to fit a temperature on.")

    def fit(backbone: Backbone, graphs: BackboneGraphs) -> float:
        embedder = Embedder(
            image=open_session(graphs.image.model), text=open_session(graphs.text.model), tokenizer=backbone.tokenizer
        )
        return temperature_on(embedder, backbone.preprocessing, tasks, logit_scale=backbone.logit_scale)

    return fit
