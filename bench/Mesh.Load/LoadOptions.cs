namespace Mesh.Load;

/// <summary>What is to be measured, and how long.</summary>
internal sealed class LoadOptions
{
    public const string Usage = "usage: bench/run [--quick] [--json FILE] [--only WORKLOAD[,WORKLOAD...]] [--peers PEER[,PEER...]]";
    private readonly HashSet<string> _workloads = [];
    private readonly HashSet<string> _peers = [];

    public bool Quick { get; private set; }

    public string? JsonFile { get; private set; }

    public TimeSpan Duration => TimeSpan.FromSeconds(Quick ? 0.8 : 4);

    /// <summary>How long each of the loads runs before anything is measured.</summary>
    public TimeSpan WarmUp => TimeSpan.FromSeconds(Quick ? 1.5 : 4);

    public int Repetitions => Quick ? 3 : 5;

    public bool Includes(string workload) => _workloads.Count == 0 || _workloads.Contains(workload);

    public bool IncludesPeer(string peer) => _peers.Count == 0 || _peers.Contains(peer);

    /// <summary>Reads the command line; null when it is not right.</summary>
    public static LoadOptions? Parse(string[] args)
    {
        var options = new LoadOptions();
        for (var i = 0; i < args.Length; i++)
        {
            switch (args[i])
            {
                case "--quick":
                    options.Quick = true;
                    break;
                case "--json" when i + 1 < args.Length:
                    options.JsonFile = args[++i];
                    break;
                case "--only" when i + 1 < args.Length:
                    options._workloads.UnionWith(args[++i].Split(','));
                    break;
                case "--peers" when i + 1 < args.Length:
                    options._peers.UnionWith(args[++i].Split(','));
                    break;
                default:
                    return null;
            }
        }

        return options;
    }
}
