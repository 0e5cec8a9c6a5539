using System.Net.Sockets;
using Mesh.Ztunnel.InPod.Protocol;
using Microsoft.Extensions.Logging;

namespace Mesh.Ztunnel.InPod;

/// <summary>Keeps a connection to the CNI agent of the node, and does what it asks for, one request at a time (ztunnel §12.2, §12.3).</summary>
internal sealed class CniClient : IAsyncDisposable
{
    private static readonly TimeSpan RetryInterval = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan FirstBackoff = TimeSpan.FromMilliseconds(20);
    private static readonly TimeSpan LongestBackoff = TimeSpan.FromSeconds(15);

    private readonly CancellationTokenSource _stop = new();
    private readonly string _path;
    private readonly WorkloadProxyManager _pods;
    private readonly Action _readinessChanged;
    private readonly TimeProvider _time;
    private readonly ILogger _logger;
    private readonly SemaphoreSlim _turn = new(1);
    private int _isConnected;

    /// <param name="path">The agent's socket.</param>
    /// <param name="pods">What does the work.</param>
    /// <param name="readinessChanged">Told when <see cref="IsReady"/> may have changed.</param>
    /// <param name="time">The clock.</param>
    /// <param name="logger">Where it speaks.</param>
    public CniClient(string path, WorkloadProxyManager pods, Action readinessChanged, TimeProvider time, ILogger logger)
    {
        _path = path;
        _pods = pods;
        _readinessChanged = readinessChanged;
        _time = time;
        _logger = logger;
        Completion = Task.Run(RunAsync);
    }

    /// <summary>Fails with a <see cref="CniProtocolException"/> when the agent breaks the protocol; completes when this is disposed.</summary>
    public Task Completion { get; }

    /// <summary>Whether the agent is there and every pod that it told of has its proxy.</summary>
    public bool IsReady => Volatile.Read(ref _isConnected) == 1 && _pods.IsReady;

    /// <summary>Hears the agent no more; the proxies are left as they are.</summary>
    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        await Completion.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        _turn.Dispose();
    }

    private async Task RunAsync()
    {
        var retrying = RetryPendingAsync();
        var backoff = FirstBackoff;
        try
        {
            while (true)
            {
                try
                {
                    using var connection = await CniConnection.ConnectAsync(_path, _stop.Token);
                    await connection.SendAsync(new ZdsHello { Version = Protocol.Version.V1 }, _stop.Token);
                    _logger.CniConnected(_path);
                    await ServeAsync(connection, () => backoff = FirstBackoff);
                    _logger.CniLost(_path, "the agent closed the connection");
                }
                catch (Exception e) when (e is SocketException or IOException)
                {
                    _logger.CniLost(_path, e.Message);
                }
                finally
                {
                    Volatile.Write(ref _isConnected, 0);
                    _readinessChanged();
                }

                await Task.Delay(backoff, _time, _stop.Token);
                backoff = backoff * 2 < LongestBackoff ? backoff * 2 : LongestBackoff;
            }
        }
        catch (OperationCanceledException) when (_stop.IsCancellationRequested)
        {
            // Told to stop.
        }
        finally
        {
            await _stop.CancelAsync();
            await retrying;
        }
    }

    // An agent that has asked for something is one that works.
    private async Task ServeAsync(CniConnection connection, Action onRequest)
    {
        await InTurnAsync(_pods.BeginAsync);
        Volatile.Write(ref _isConnected, 1);
        while (true)
        {
            string? error = null;
            CniProtocolException? fatal = null;
            try
            {
                if (await connection.ReceiveAsync(_stop.Token) is not { } request)
                {
                    return;
                }

                onRequest();
                await InTurnAsync(async () => error = await HandleAsync(request));
            }
            catch (CniProtocolException e)
            {
                fatal = e;
                error = e.Message;
            }

            try
            {
                await connection.SendAsync(new WorkloadResponse { Ack = new Ack { Error = error ?? "" } }, _stop.Token);
            }
            catch (SocketException) when (fatal is not null)
            {
                // It cannot be told any more; that it broke the protocol is what matters.
            }

            _readinessChanged();
            if (fatal is not null)
            {
                throw fatal;
            }
        }
    }

    private async Task<string?> HandleAsync(CniRequest request)
    {
        switch (request.Request.PayloadCase)
        {
            case WorkloadRequest.PayloadOneofCase.Add when request.Request.Add is { WorkloadInfo: { } info, Uid.Length: > 0 } add:
                try
                {
                    return await _pods.AddAsync(add.Uid, new Mesh.Ztunnel.WorkloadInfo(info.Namespace, info.Name, info.ServiceAccount), NetworkNamespace.FromDescriptor(request.NetworkNamespace!));
                }
                catch (IOException e)
                {
                    request.NetworkNamespace!.Dispose();
                    return e.Message;
                }

            case WorkloadRequest.PayloadOneofCase.Keep:
                _pods.Keep(request.Request.Keep.Uid);
                return null;
            case WorkloadRequest.PayloadOneofCase.Del:
                await _pods.DeleteAsync(request.Request.Del.Uid);
                return null;
            case WorkloadRequest.PayloadOneofCase.SnapshotSent:
                await _pods.EndSnapshotAsync();
                return null;
            default:
                request.NetworkNamespace?.Dispose();
                throw new CniProtocolException($"a request '{request.Request.PayloadCase}' of the CNI agent lacks what belongs to it");
        }
    }

    private async Task RetryPendingAsync()
    {
        using var timer = new PeriodicTimer(RetryInterval, _time);
        try
        {
            while (await timer.WaitForNextTickAsync(_stop.Token))
            {
                await InTurnAsync(() =>
                {
                    _pods.RetryPending();
                    return Task.CompletedTask;
                });
                _readinessChanged();
            }
        }
        catch (OperationCanceledException)
        {
            // Told to stop.
        }
    }

    // Requests and retries change the same pods.
    private async Task InTurnAsync(Func<Task> work)
    {
        await _turn.WaitAsync(_stop.Token);
        try
        {
            await work();
        }
        finally
        {
            _turn.Release();
        }
    }
}
