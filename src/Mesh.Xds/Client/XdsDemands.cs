using Mesh.Xds.Protos;

namespace Mesh.Xds.Client;

/// <summary>The names that are asked for on demand: who waits for which, what answers to it, and what of it the server has still to be told.</summary>
/// <remarks>Not thread-safe; the subscription has a lock.</remarks>
internal sealed class XdsDemands
{
    // What an application can make us ask for has a bound: of names that do not exist the oldest is given up, and of those without an answer the one that has been waited for by nobody for longest.
    public const int MaxUnanswered = 10_000;
    private const int MaxAbsent = 10_000;

    private readonly Dictionary<string, Demand> _demands = [];

    // The names that a resource was asked for by.
    private readonly Dictionary<string, HashSet<string>> _foundBy = [];
    private readonly Queue<string> _absent = [];

    // The names without an answer that nobody waits for any more.
    private readonly LinkedList<string> _idle = [];
    private readonly HashSet<string> _toSubscribe = [];
    private readonly HashSet<string> _toUnsubscribe = [];
    private int _unanswered;

    /// <summary>Begins to wait for a name, until <see cref="End"/>; null when as many as may be wait for others.</summary>
    public Demand? Begin(string name)
    {
        if (!_demands.TryGetValue(name, out var demand))
        {
            // As many as nobody has answered yet are enough, and are asked again with each stream.
            if (_unanswered >= MaxUnanswered && !GiveUpOldest())
            {
                return null;
            }

            demand = new Demand();
            _demands.Add(name, demand);
            _unanswered++;
            _toSubscribe.Add(name);
        }

        demand.Waiting++;
        Awake(demand);
        return demand;
    }

    /// <summary>Ends a wait. The name stays asked for.</summary>
    public void End(string name, Demand demand)
    {
        if (--demand.Waiting == 0 && demand.IsFound is null)
        {
            demand.Idle = _idle.AddLast(name);
        }
    }

    /// <summary>Names all in the first request of a stream; nothing else is left to tell then.</summary>
    public void AddTo(DeltaDiscoveryRequest opening)
    {
        foreach (var name in _demands.Keys)
        {
            opening.ResourceNamesSubscribe.Add(name);
            opening.InitialResourceVersions.TryAdd(name, "");
        }

        _toSubscribe.Clear();
        _toUnsubscribe.Clear();
    }

    /// <summary>What the server has to be told next; null when it knows all.</summary>
    public DeltaDiscoveryRequest? NextRequest(string typeUrl)
    {
        if (_toSubscribe.Count + _toUnsubscribe.Count == 0)
        {
            return null;
        }

        // Apart, and in this order: a name that is given up and wanted again is a new question only so.
        var request = new DeltaDiscoveryRequest { TypeUrl = typeUrl };
        if (_toUnsubscribe.Count > 0)
        {
            request.ResourceNamesUnsubscribe.Add(_toUnsubscribe);
            _toUnsubscribe.Clear();
            return request;
        }

        request.ResourceNamesSubscribe.Add(_toSubscribe);
        _toSubscribe.Clear();
        return request;
    }

    /// <summary>Answers with what the server has sent. What is taken goes before what is let go: a name that moves from one resource to another has an answer all the time.</summary>
    /// <param name="changed">The resources that came, each with all names that it answers to.</param>
    /// <param name="gone">The names of those that are held no more, and of what the server does not have.</param>
    public void Answer(IReadOnlyList<(string Resource, HashSet<string> Names)> changed, IEnumerable<string> gone)
    {
        foreach (var (resource, names) in changed)
        {
            foreach (var name in names)
            {
                Find(name, resource);
            }
        }

        foreach (var (resource, names) in changed)
        {
            // What nothing answers to any more is a new question.
            foreach (var name in _foundBy.TryGetValue(resource, out var before) ? before.Except(names).ToList() : [])
            {
                before!.Remove(name);
                if (Lose(name, resource))
                {
                    Forget(name);
                }
            }
        }

        foreach (var resource in gone)
        {
            foreach (var name in _foundBy.Remove(resource, out var names) ? names : [])
            {
                if (Lose(name, resource))
                {
                    Set(name, _demands[name], isFound: false);
                }
            }

            // A server may say of a name that no resource is called so, though one that is held answers to it.
            if (_demands.TryGetValue(resource, out var demand) && demand.FoundAs.Count == 0)
            {
                Set(resource, demand, isFound: false);
            }
        }

        while (_absent.Count > MaxAbsent)
        {
            var name = _absent.Dequeue();
            if (_demands.TryGetValue(name, out var demand) && demand.IsFound is false)
            {
                Forget(name);
            }
        }
    }

    private bool GiveUpOldest()
    {
        if (_idle.First is not { } oldest)
        {
            return false;
        }

        _idle.Remove(oldest);
        _unanswered--;
        Forget(oldest.Value);
        return true;
    }

    private void Awake(Demand demand)
    {
        if (demand.Idle is { } idle)
        {
            _idle.Remove(idle);
            demand.Idle = null;
        }
    }

    // What the server was not yet asked it need not be told to forget.
    private void Forget(string name)
    {
        _demands.Remove(name);
        if (!_toSubscribe.Remove(name))
        {
            _toUnsubscribe.Add(name);
        }
    }

    private void Find(string name, string resource)
    {
        if (_demands.TryGetValue(name, out var demand))
        {
            demand.FoundAs.Add(resource);
            (_foundBy.TryGetValue(resource, out var found) ? found : _foundBy[resource] = []).Add(name);
            Set(name, demand, isFound: true);
        }
    }

    /// <returns>Whether it was the last that answered to the name.</returns>
    private bool Lose(string name, string resource) =>
        _demands.TryGetValue(name, out var demand) && demand.FoundAs.Remove(resource) && demand.FoundAs.Count == 0;

    private void Set(string name, Demand demand, bool isFound)
    {
        if (demand.IsFound == isFound)
        {
            return;
        }

        _unanswered -= demand.IsFound is null ? 1 : 0;
        Awake(demand);
        demand.Set(isFound);
        if (!isFound)
        {
            _absent.Enqueue(name);
        }
    }

    /// <summary>A name that was asked for. It stays asked for: the server tells when it comes and goes.</summary>
    public sealed class Demand
    {
        public TaskCompletionSource<bool> Answer { get; private set; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        /// <summary>What the server has said; null while it has not.</summary>
        public bool? IsFound { get; private set; }

        /// <summary>The names of the resources that answer to it. Two of them while it moves from one to the other.</summary>
        public HashSet<string> FoundAs { get; } = [];

        /// <summary>How many wait for it.</summary>
        public int Waiting { get; set; }

        /// <summary>Its place among the names that nobody waits for; null when it is none of them.</summary>
        public LinkedListNode<string>? Idle { get; set; }

        public void Set(bool isFound)
        {
            IsFound = isFound;
            if (!Answer.TrySetResult(isFound))
            {
                Answer = new TaskCompletionSource<bool>(TaskCreationOptions.RunContinuationsAsynchronously);
                Answer.SetResult(isFound);
            }
        }
    }
}
